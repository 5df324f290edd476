//! [`Channel`]: what is published on a channel, heard by who owns it.

use std::fmt;
use std::sync::Arc;

use cache_core::{CacheError, ErrorKind, Timestamp};
use parking_lot::Mutex;
use tokio::runtime;

use crate::connection::{Connections, Task};

mod listening;

pub(crate) use listening::{Hears, Listening};

/// What happens on a [`Channel`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChannelEvent<'a> {
    /// The server has confirmed the subscription: what is published from now on is heard.
    Connected,
    /// The subscription is lost: what is published from now on is not heard. It is made anew.
    Disconnected,
    /// Somebody has published `payload`.
    Message {
        /// What was published.
        payload: &'a [u8],
        /// A moment by the [system's clock](cache_core::Clock::system) before the publication, a
        /// [`heartbeat_interval`](crate::RedisConfig::heartbeat_interval) and an answer's time
        /// before now at most. The server puts messages and answers into one stream in the order
        /// in which it makes them, so what is read after the answer to a question was published
        /// after the question was sent. `None` in a cluster, where messages come by other nodes.
        published_after: Option<Timestamp>,
    },
}

/// A subscription to one pub/sub channel, on a connection of its own, that heals by itself. Dropping
/// it ends it.
///
/// A silent server is noticed as the [bus](crate::RedisBus) notices it. A replica is not listened to,
/// and a primary that becomes one no longer: it repeats what its primary replicates, and misses what
/// is not replicated. It takes Redis 6; a user
/// under ACL needs `+subscribe` and `&<channel>`.
///
/// ```no_run
/// use cache_redis::{Channel, ChannelEvent, Connections, RedisConfig};
///
/// # async fn run() -> Result<(), cache_core::CacheError> {
/// let connections = Connections::connect(&RedisConfig::from_url("redis://127.0.0.1:6379")?).await?;
/// let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
/// let channel = Channel::listen(&connections, "deployments", move |event| {
///     if let ChannelEvent::Message { payload, .. } = event {
///         let _ = tell.send(payload.to_vec()); // nobody reads any more
///     }
/// })?;
/// let first = told.recv().await;
/// # drop((channel, first));
/// # Ok(()) }
/// ```
pub struct Channel {
    listening: Arc<Listening<Ear>>,
    /// Held, so that it ends with the channel.
    _task: Task,
}

impl Channel {
    /// Starts subscribing to `channel` and returns at once. It ends when it is dropped or the
    /// connections are shut down.
    ///
    /// `hear` is called in the connection's task, in the order in which the server speaks: it
    /// must not block, and what takes time belongs elsewhere.
    ///
    /// # Errors
    ///
    /// [`Config`](ErrorKind::Config) outside a tokio runtime.
    pub fn listen(
        connections: &Connections,
        channel: impl Into<String>,
        hear: impl Fn(ChannelEvent<'_>) + Send + Sync + 'static,
    ) -> Result<Self, CacheError> {
        if runtime::Handle::try_current().is_err() {
            return Err(CacheError::new(ErrorKind::Config, "subscribing needs a tokio runtime"));
        }
        let ear = Ear {
            state: Mutex::default(),
            in_order: !connections.is_cluster(),
            hear: Box::new(hear),
        };
        let feed = connections.feed().on_a_primary();
        let listening = Listening::new(feed, channel.into(), Arc::new(ear));
        let listening = Arc::new(listening);
        let _task = Task::spawn(Arc::clone(&listening).listen());
        Ok(Self { listening, _task })
    }

    /// Why the last attempt to subscribe failed, or the last subscription was lost.
    #[must_use]
    pub fn last_fault(&self) -> Option<String> {
        self.listening.last_fault()
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel")
            .field("channel", &self.listening.channel())
            .field("last_fault", &self.last_fault())
            .finish_non_exhaustive()
    }
}

/// Hands on what belongs to the subscription that counts, under a lock: in order.
struct Ear {
    state: Mutex<State>,
    in_order: bool,
    hear: Box<dyn Fn(ChannelEvent<'_>) + Send + Sync>,
}

#[derive(Default)]
struct State {
    number: u64,
    connected: bool,
    up_to: Option<Timestamp>,
}

impl Ear {
    fn end(&self) -> u64 {
        let mut state = self.state.lock();
        state.number += 1;
        state.up_to = None;
        if std::mem::take(&mut state.connected) {
            (self.hear)(ChannelEvent::Disconnected);
        }
        state.number
    }
}

impl Hears for Ear {
    const WHAT: &'static str = "messages";

    fn begin(&self) -> u64 {
        self.end()
    }

    fn confirmed(&self, number: u64) -> bool {
        let mut state = self.state.lock();
        let news = state.number == number && !state.connected;
        if news {
            state.connected = true;
            (self.hear)(ChannelEvent::Connected);
        }
        news
    }

    fn message(&self, number: u64, payload: &[u8]) {
        let state = self.state.lock();
        if state.number == number && state.connected {
            let published_after = state.up_to.filter(|_| self.in_order);
            (self.hear)(ChannelEvent::Message { payload, published_after });
        }
    }

    fn up_to(&self, number: u64, then: Timestamp) {
        let mut state = self.state.lock();
        if state.number == number {
            state.up_to = Some(then);
        }
    }

    fn lost(&self) {
        self.end();
    }
}

impl fmt::Debug for Ear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ear").finish_non_exhaustive()
    }
}
