//! [`InvalidationBus`] on Redis pub/sub.
//!
//! Rules:
//!
//! 1. `Connected` is said when the server has confirmed the subscription, not before: a removal
//!    published after that is heard.
//! 2. The subscription has a connection and a task of its own, which end with the last handle to
//!    the bus, or when the connections it was made from are shut down.
//! 3. Publishing twice is harmless, so it is tried again where a connection broke.
//! 4. Removals are numbered, so that one that is lost on the way is noticed.

use std::any::Any;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use cache_core::{BusDeadline, BusEvent, CacheError, ErrorKind, InvalidationBus, Selector};
use futures_util::stream::BoxStream;
use redis::{Cmd, cmd};
use tokio::runtime;

use self::message::Name;
use self::numbers::{Given, Numbers};
use self::subscriber::Ear;
use self::tracker::Tracker;
use crate::channel::Listening;
use crate::connection::{Call, Connections, Lane, Retry, Task};

mod hub;
mod message;
mod numbers;
mod queue;
mod subscriber;
mod tracker;

const PUBLISH: Call = Call::new(Lane::Small).retry(Retry::Once);

/// Tells the nodes of a fleet of each other's removals, over Redis pub/sub.
///
/// It publishes over the connections it is made from and listens on one of its own, to the same
/// server; in a cluster to any node, for Redis passes messages on among them. A server that was a
/// primary is left when it is a replica. The channel is
/// [`RedisConfig::invalidation_channel`](crate::RedisConfig::invalidation_channel): `cache:invalidate`
/// unless the namespace is another. `FORMAT.md` says what the messages are; a bare string is a key,
/// so `PUBLISH cache:invalidate org:acme` by hand removes `org:acme` from every node's memory. With a
/// newline at its end it removes the key without that, too.
///
/// Clones are handles to the same bus, with one sender's name: they do not hear each other. The
/// last one to be dropped ends the subscription and its streams. A process that is copied while it
/// runs, as with a virtual machine, takes another name when it hears from its copy.
///
/// # How soon a loss is noticed
///
/// The server is asked once per [`heartbeat_interval`](crate::RedisConfig::heartbeat_interval) on
/// the subscription's own connection. One that has not answered within
/// [`heartbeat_timeout`](crate::RedisConfig::heartbeat_timeout) is lost: that is 1.5 s by default
/// after the last moment at which it is known to have been there. A connection that breaks is
/// noticed at once. Who [subscribes until a deadline](InvalidationBus::subscribe_until) need not
/// notice: the deadline is interval and timeout after the last heartbeat that was answered was sent,
/// and passes in a process that is frozen or blocked as well. A cluster node that is cut off from the others tells so after the cluster's own
/// `cluster-node-timeout`.
///
/// # Messages that are lost on the way
///
/// Pub/sub does not repeat what a link between cluster nodes or a proxy has dropped, and says nothing
/// of it. So removals are numbered, and a sender that has told something says up to where, a few
/// times within interval and timeout, until it has nothing new to tell. Where a number is missing,
/// streams hear [`Disconnected`](BusEvent::Disconnected) and [`Connected`](BusEvent::Connected), at
/// most interval and timeout after the loss; [`BusStats::gaps`] counts that. What has no number, as
/// a bare string has none, is not missed, nor are notices of loads that have ended. What is published at
/// the very moment at which a subscription begins may count as lost although it came before.
///
/// # Rights
///
/// It takes Redis 6. A user under ACL needs `SUBSCRIBE` and `PUBLISH` on the channel
/// (`+subscribe +publish &cache:invalidate`).
///
/// ```no_run
/// use cache_core::{BusEvent, InvalidationBus, Selector};
/// use cache_redis::{Connections, RedisBus, RedisConfig};
/// use futures_util::StreamExt;
///
/// # async fn run() -> Result<(), cache_core::CacheError> {
/// let connections = Connections::connect(&RedisConfig::from_url("redis://127.0.0.1:6379")?).await?;
/// let bus = RedisBus::new(connections)?;
/// let mut events = bus.subscribe();
/// assert_eq!(events.next().await, Some(BusEvent::Connected));
/// bus.publish(&Selector::key("org:acme")).await?; // the others hear it
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct RedisBus(Arc<Inner>);

struct Inner {
    connections: Connections,
    ear: Arc<Ear>,
    listening: Arc<Listening<Ear>>,
    numbers: Arc<Numbers>,
    /// Held, so that they end with the bus.
    _tasks: [Task; 3],
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.ear.hub.close();
    }
}

/// Channel and sender of a bus, without holding it.
#[derive(Clone, Debug)]
pub(crate) struct Voice {
    pub(crate) channel: String,
    name: Arc<Name>,
}

impl Voice {
    /// The message that `key` was filled, or its load given up.
    pub(crate) fn filled(&self, key: &str) -> String {
        message::filled(self.name.get(), key)
    }
}

/// Counters of a [`RedisBus`], since it was made.
///
/// ```no_run
/// # fn check(bus: &cache_redis::RedisBus) {
/// let stats = bus.stats();
/// if !stats.connected {
///     eprintln!("removals by other nodes are not heard: {:?}", stats.last_fault);
/// }
/// # }
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct BusStats {
    /// Whether the subscription is confirmed and not lost.
    pub connected: bool,
    /// Messages that were published; one removal may take several.
    pub published: u64,
    /// Messages of others that were understood.
    pub received: u64,
    /// Messages of this bus that came back, and were ignored.
    pub own: u64,
    /// Messages that were not understood, and were ignored.
    pub unreadable: u64,
    /// Subscriptions that were made in place of one that was lost.
    pub reconnects: u64,
    /// How often a stream was not read for so long that its events gave way to
    /// [`Disconnected`](BusEvent::Disconnected) and [`Connected`](BusEvent::Connected).
    pub overflows: u64,
    /// How often messages were lost on the way, as their senders' numbers tell: streams heard
    /// [`Disconnected`](BusEvent::Disconnected) and [`Connected`](BusEvent::Connected).
    pub gaps: u64,
    /// How late a message is heard at most: while the subscription is there, the time that its last
    /// heartbeat took, which comes back in the same stream as the messages; while it is lost, the
    /// time since the last heartbeat that was answered was sent. `None` before the first.
    pub lag: Option<Duration>,
    /// Why the last attempt to subscribe failed, or the last subscription was lost.
    pub last_fault: Option<String>,
}

impl RedisBus {
    /// Starts subscribing, and returns at once. It heals by itself; a stream says
    /// [`Connected`](BusEvent::Connected) when the subscription is confirmed.
    ///
    /// # Errors
    ///
    /// [`Config`](ErrorKind::Config) outside a tokio runtime.
    pub fn new(connections: Connections) -> Result<Self, CacheError> {
        if runtime::Handle::try_current().is_err() {
            return Err(CacheError::new(ErrorKind::Config, "subscribing needs a tokio runtime"));
        }
        let channel = connections.config().invalidation_channel_name();
        let config = connections.config();
        let bound = config.heartbeat_interval + config.heartbeat_timeout;
        let (patience, budget) = (config.heartbeat_timeout, config.operation_timeout);
        let tracker = Tracker::new(patience, budget, !connections.is_cluster());
        let numbers = Numbers::new(config.heartbeat_interval / 2, budget.min(patience));
        let numbers = Arc::new(numbers);
        let ear = Arc::new(Ear::new(Arc::clone(&numbers), tracker, bound));
        let listening = Listening::new(connections.feed(), channel, Arc::clone(&ear));
        let listening = Arc::new(listening);
        let _tasks = [
            Task::spawn(Arc::clone(&listening).listen()),
            Task::spawn(Arc::clone(&ear).watch()),
            Task::spawn(mark(
                connections.clone(),
                Arc::clone(&listening),
                Arc::clone(&ear.name),
                Arc::clone(&numbers),
            )),
        ];
        Ok(Self(Arc::new(Inner { connections, ear, listening, numbers, _tasks })))
    }

    /// The channel it publishes to and listens on.
    #[must_use]
    pub fn channel(&self) -> &str {
        self.0.listening.channel()
    }

    /// The connections it publishes over.
    #[must_use]
    pub fn connections(&self) -> &Connections {
        &self.0.connections
    }

    /// Counters.
    #[must_use]
    pub fn stats(&self) -> BusStats {
        let Inner { ear, listening, numbers, .. } = &*self.0;
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        BusStats {
            connected: ear.hub.is_connected(),
            published: numbers.published(),
            received: count(&ear.received),
            own: count(&ear.own),
            unreadable: count(&ear.unreadable),
            reconnects: ear.hub.reconnects(),
            overflows: count(&ear.hub.overflows),
            gaps: count(&ear.hub.gaps),
            lag: ear.lag(),
            last_fault: listening.last_fault(),
        }
    }

    /// What a store says in this bus's name.
    pub(crate) fn voice(&self) -> Voice {
        Voice { channel: self.channel().to_owned(), name: Arc::clone(&self.0.ear.name) }
    }

    /// The commands that tell of a removal, in order.
    pub(crate) fn announcements(&self, what: &Selector) -> Result<Announcements, CacheError> {
        let mut given = Given::new(&self.0.numbers);
        let messages = message::removed(self.0.ear.name.get(), what, || given.next());
        let messages = messages.ok_or_else(|| {
            CacheError::new(ErrorKind::Config, format!("the bus has no words for {what:?}"))
        })?;
        let publish = |message| publish(self.channel(), message);
        Ok(Announcements { commands: messages.into_iter().map(publish).collect(), given })
    }
}

/// The commands that tell of a removal. Dropped before they are [told](Self::told), they count as
/// not told: whoever wanted it knows, and nobody else misses them.
pub(crate) struct Announcements {
    commands: Vec<Cmd>,
    given: Given,
}

impl Announcements {
    /// They have been published.
    pub(crate) fn told(self) {
        self.given.told();
    }
}

impl Deref for Announcements {
    type Target = [Cmd];

    fn deref(&self) -> &[Cmd] {
        &self.commands
    }
}

fn publish(channel: &str, message: String) -> Cmd {
    let mut publish = cmd("PUBLISH");
    publish.arg(channel).arg(message);
    publish
}

/// Says up to where it has told, after it has told something.
async fn mark(
    connections: Connections,
    listening: Arc<Listening<Ear>>,
    name: Arc<Name>,
    numbers: Arc<Numbers>,
) {
    loop {
        let mark = numbers.mark().await;
        let publish = publish(listening.channel(), message::mark(name.get(), &mark));
        // One that fails is said again.
        if connections.query::<i64>(PUBLISH, &publish).await.is_ok() {
            numbers.marked(&mark);
        }
    }
}

#[async_trait]
impl InvalidationBus for RedisBus {
    async fn publish(&self, what: &Selector) -> Result<(), CacheError> {
        let Announcements { commands, mut given } = self.announcements(what)?;
        for announcement in &commands {
            self.0.connections.query::<i64>(PUBLISH, announcement).await?;
            given.told_one();
        }
        Ok(())
    }

    fn subscribe(&self) -> BoxStream<'static, BusEvent> {
        Box::pin(self.0.ear.hub.listen(None))
    }

    fn subscribe_until(&self, deadline: &BusDeadline) -> BoxStream<'static, BusEvent> {
        Box::pin(self.0.ear.hub.listen(Some(deadline)))
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl fmt::Debug for RedisBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisBus")
            .field("channel", &self.channel())
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
