//! Connections to Redis that come back by themselves, and calls that never outlive their budget.
//!
//! Rules:
//!
//! 1. A call ends within its budget, whatever the server does: waiting for a connection, queueing
//!    and the reply share it.
//! 2. Without a connection a call fails at once. Exceptions: calls wait for the first attempt after
//!    a loss, and one call at a time waits for each later attempt.
//! 3. A reply belongs to its caller alone. Dropping a call's future gives up its reply and nothing
//!    else.
//! 4. Every task belongs to the [`Connections`]: none is left after `shutdown` or after the last
//!    clone is dropped.

mod asking;
mod backoff;
mod call;
mod cluster;
mod dial;
mod exchange;
mod found;
mod gather;
mod handle;
mod health;
mod heartbeat;
mod link;
mod pool;
mod primaries;
mod script;
mod sentinel;
mod server_clock;
mod slot;
mod stream;
mod subscribe;
mod supervise;
mod task;
mod tls;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use cache_core::{CacheError, ErrorKind, Timestamp};
use redis::{Cmd, FromRedisValue, Pipeline, ServerErrorKind, Value};
use tokio::runtime;

pub(crate) use self::backoff::Backoff;
pub(crate) use self::call::Generation;
use self::call::Request;
pub use self::call::{Call, Lane, Retry, Sent};
use self::dial::Dialer;
use self::found::Found;
use self::health::Health;
pub use self::health::{ConnectionState, ConnectionStats};
use self::link::Phase;
use self::pool::Pool;
pub(crate) use self::primaries::Layout;
pub use self::primaries::Primary;
pub use self::script::Script;
use self::server_clock::ServerClock;
pub use self::slot::slot;
pub(crate) use self::subscribe::Feed;
use self::supervise::Shared;
pub(crate) use self::task::Task;
use crate::config::{RedisConfig, Topology};
use crate::error::{unavailable, unexpected};

/// A fixed number of connections to one Redis, kept open by tasks of its own.
///
/// Clones share them; the last one to be dropped closes them.
///
/// # Cancel safety
///
/// Every future here may be dropped at any await point. A command that was sent may still run.
#[derive(Clone)]
pub struct Connections(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    pool: Pool,
}

impl Connections {
    /// Connects, and waits until every connection is open.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](ErrorKind::Unavailable) naming host and port, within the connect timeout
    /// (1 s); [`Config`](ErrorKind::Config) for settings out of range and for credentials, a
    /// database or a certificate that the other side refuses.
    pub async fn connect(config: &RedisConfig) -> Result<Self, CacheError> {
        let connections = Self::connect_degraded(config)?;
        for link in connections.0.pool.links() {
            match link.settled().await {
                Phase::Live { .. } => {}
                _ => return Err(connections.first_fault(link)),
            }
        }
        Ok(connections)
    }

    /// Starts connecting and returns at once. Until a connection is open, calls wait for the first
    /// attempt and then fail; it heals by itself.
    ///
    /// # Errors
    ///
    /// [`Config`](ErrorKind::Config) for settings out of range, and outside a tokio runtime.
    pub fn connect_degraded(config: &RedisConfig) -> Result<Self, CacheError> {
        config.check()?;
        let runtime = runtime::Handle::try_current().map_err(|error| {
            CacheError::new(ErrorKind::Config, "connecting needs a tokio runtime")
                .with_source(error)
        })?;
        let user_timeout = config.heartbeat_interval + config.heartbeat_timeout * 2;
        let tls = config.tls.then(|| tls::connector(config.ca_certificate.as_ref())).transpose()?;
        let cluster = match &config.topology {
            Topology::Cluster(nodes) => Some(cluster::client(config, nodes, user_timeout)?),
            _ => None,
        };
        let shared = Arc::new(Shared {
            dialer: Dialer { tls, user_timeout },
            cluster,
            links: Pool::links_for(config.connections, &config.address()),
            health: Health::new(config.address()),
            clock: ServerClock::new(config.clock.clone()),
            config: config.clone(),
            primary: Found::default(),
            runtime,
        });
        let pool = Pool::start(&shared);
        Ok(Self(Arc::new(Inner { shared, pool })))
    }

    /// The cause itself, not what calls are told while down.
    fn first_fault(&self, link: &link::Link) -> CacheError {
        use std::error::Error;
        let fault = link.fault();
        let cause = fault.source().and_then(|cause| cause.downcast_ref::<CacheError>());
        cause.cloned().unwrap_or(fault)
    }

    /// Lets calls under way finish, for one [`operation_timeout`](RedisConfig::operation_timeout) at
    /// most, and closes all connections. Calls that come later, on any clone, fail with
    /// [`Unavailable`](ErrorKind::Unavailable).
    pub async fn shutdown(&self) {
        let closed = unavailable(self.address(), "Redis is shut down");
        self.0.pool.shutdown(&closed, self.0.shared.config.operation_timeout).await;
        self.0.shared.health.closed();
    }

    /// Sends one command.
    ///
    /// In a cluster it goes to the node that has its key; a command of several keys needs them in
    /// one [`slot()`].
    ///
    /// # Errors
    ///
    /// [`Timeout`](ErrorKind::Timeout) once the budget is used up,
    /// [`Unavailable`](ErrorKind::Unavailable) without a working connection or server, and
    /// [`Backend`](ErrorKind::Backend) for what the server refuses and for a reply that is no `T`.
    pub async fn query<T>(&self, call: Call, cmd: &Cmd) -> Result<T, CacheError>
    where
        T: FromRedisValue + Send,
    {
        let reply = self.run(call, Request::Command(cmd)).await?;
        self.convert(reply)
    }

    /// Sends commands in one go and gives their replies in order; see
    /// [`convert`](Self::convert). In a cluster the keys of all of them must be in one [`slot()`].
    ///
    /// Pipelines made atomic with MULTI are not for this: their replies are one array at the end.
    ///
    /// # Errors
    ///
    /// As [`query`](Self::query), when no replies came. A command that the server refused has its
    /// error in its place.
    pub async fn pipeline(
        &self,
        call: Call,
        pipeline: &Pipeline,
    ) -> Result<Vec<Value>, CacheError> {
        if pipeline.is_empty() {
            return Ok(Vec::new());
        }
        match self.run(call, Request::Pipeline(pipeline)).await? {
            Value::Array(replies) => Ok(replies),
            reply => Ok(vec![reply]),
        }
    }

    /// Runs a script by its digest, and by its source where the server does not know it yet: it has
    /// not run then, so this is no repetition. In a cluster it goes to the node of its first key.
    ///
    /// # Errors
    ///
    /// As [`query`](Self::query).
    pub async fn script<T>(
        &self,
        call: Call,
        script: &Script,
        keys: &[&str],
        args: &[&[u8]],
    ) -> Result<T, CacheError>
    where
        T: FromRedisValue + Send,
    {
        self.script_counted(call, script, keys, args, &mut Sent::default()).await
    }

    /// As [`script`](Self::script), and counts how often it was sent, for those who have to know
    /// whether it may run, or run again, after an error: added to `sent`.
    ///
    /// # Errors
    ///
    /// As [`query`](Self::query).
    ///
    /// # Cancel safety
    ///
    /// Dropped, it may have run or may run yet; `sent` says by then how
    /// often it was sent.
    ///
    /// ```no_run
    /// use cache_redis::{Call, Connections, Lane, Script, Sent};
    ///
    /// # async fn example(connections: &Connections) -> Result<(), cache_core::CacheError> {
    /// let take = Script::new("return redis.call('SET', KEYS[1], ARGV[1], 'NX')");
    /// let (call, mut sent) = (Call::new(Lane::Small), Sent::default());
    /// let taken = connections.script_counted::<bool>(call, &take, &["k"], &[b"me"], &mut sent).await;
    /// if taken.is_err() && sent.0 == 0 {
    ///     // Nothing was sent: it has not run and will not.
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn script_counted<T>(
        &self,
        call: Call,
        script: &Script,
        keys: &[&str],
        args: &[&[u8]],
        sent: &mut Sent,
    ) -> Result<T, CacheError>
    where
        T: FromRedisValue + Send,
    {
        let known = script.evalsha(keys, args);
        let reply = self.evaluate_counted(call, &known, || script.eval(keys, args), sent).await?;
        self.convert(reply)
    }

    /// Sends a script by its digest, and by its source if the server does not know it.
    pub(crate) async fn evaluate(
        &self,
        call: Call,
        by_hash: &Cmd,
        by_source: impl FnOnce() -> Cmd + Send,
    ) -> Result<Value, CacheError> {
        self.evaluate_counted(call, by_hash, by_source, &mut Sent::default()).await
    }

    async fn evaluate_counted(
        &self,
        call: Call,
        by_hash: &Cmd,
        by_source: impl FnOnce() -> Cmd + Send,
        sent: &mut Sent,
    ) -> Result<Value, CacheError> {
        let budget = self.budget(call);
        let started = tokio::time::Instant::now();
        let known = Request::Command(by_hash);
        let mut reply = self.exchange_counted(call, budget, known, sent).await?;
        if let Value::ServerError(error) = &reply
            && error.kind() == Some(ServerErrorKind::NoScript)
        {
            // That one has not run.
            sent.0 = sent.0.saturating_sub(1);
            let left = budget.saturating_sub(started.elapsed());
            let unknown = by_source();
            reply = self.exchange_counted(call, left, Request::Command(&unknown), sent).await?;
        }
        self.checked(reply)
    }

    /// Sends one command; a refusal is a reply like another.
    pub(crate) async fn reply(&self, call: Call, cmd: &Cmd) -> Result<Value, CacheError> {
        self.exchange(call, self.budget(call), Request::Command(cmd)).await
    }

    /// A handle to every primary: the nodes of a cluster, or the one server. For what concerns no
    /// key, like SCAN.
    ///
    /// # Errors
    ///
    /// As [`query`](Self::query).
    pub async fn primaries(&self) -> Result<Vec<Primary>, CacheError> {
        primaries::primaries(self).await
    }

    /// The primaries, and where slots are that move.
    pub(crate) async fn layout(&self) -> Result<Layout, CacheError> {
        Layout::of(self).await
    }

    /// Reads a reply as `T`.
    ///
    /// # Errors
    ///
    /// What the server said, if the reply is an error; [`Backend`](ErrorKind::Backend) if it is no
    /// `T`.
    pub fn convert<T: FromRedisValue>(&self, reply: Value) -> Result<T, CacheError> {
        let reply = self.checked(reply)?;
        T::from_redis_value(reply).map_err(|error| unexpected(self.address(), error))
    }

    /// The time on the server, as far as is known; our own until it has been asked.
    ///
    /// In a cluster it is the clock of the primary of slot 0, so that all clients agree.
    #[must_use]
    pub fn server_now(&self) -> Timestamp {
        self.0.shared.clock.now()
    }

    /// Microseconds by which the server's clock is ahead of ours.
    #[must_use]
    pub fn offset_micros(&self) -> i64 {
        self.0.shared.clock.offset_micros()
    }

    /// How far [`server_now`](Self::server_now) may be off; `None` until the server has been asked.
    #[must_use]
    pub fn clock_uncertainty(&self) -> Option<Duration> {
        self.0.shared.clock.uncertainty()
    }

    /// The latest time by the server's clock at which it may do what is sent now, if its caller is to
    /// know after `budget` that it will not be done any more. `None` until the server has been asked
    /// for its time, and in a cluster: the clocks of its primaries may differ by more than that.
    ///
    /// ```no_run
    /// use cache_redis::{Call, Connections, Lane, Script};
    ///
    /// # async fn example(connections: &Connections) -> Result<(), cache_core::CacheError> {
    /// let set = Script::new(
    ///     "local time = redis.call('TIME')
    ///      if ARGV[2] ~= '' and time[1] * 1000000 + time[2] > tonumber(ARGV[2]) then return 0 end
    ///      redis.call('SET', KEYS[1], ARGV[1])
    ///      return 1",
    /// );
    /// let call = Call::new(Lane::Small);
    /// let latest = connections.latest(connections.budget(call));
    /// let latest = latest.map_or_else(String::new, |latest| latest.as_micros().to_string());
    /// let done = connections.script::<bool>(call, &set, &["k"], &[b"v", latest.as_bytes()]).await?;
    /// assert!(done, "it came too late");
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn latest(&self, budget: Duration) -> Option<Timestamp> {
        (!self.is_cluster()).then(|| self.0.shared.clock.before(budget)).flatten()
    }

    /// Counters.
    #[must_use]
    pub fn stats(&self) -> ConnectionStats {
        self.0.shared.health.stats()
    }

    /// The settings it was made with.
    #[must_use]
    pub fn config(&self) -> &RedisConfig {
        &self.0.shared.config
    }

    /// Whether keys have to be grouped by [`slot()`].
    #[must_use]
    pub fn is_cluster(&self) -> bool {
        self.0.shared.cluster.is_some()
    }

    /// Whether both are the same connections, and not only to the same server.
    pub(crate) fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The runtime of the connections: what serves callers of any runtime runs there, as one that they
    /// call from may stand still, or be driven no more.
    pub(crate) fn runtime(&self) -> &runtime::Handle {
        &self.0.shared.runtime
    }

    /// Whether the caller is on that runtime: if it stands still, so does the caller.
    pub(crate) fn are_here(&self) -> bool {
        runtime::Handle::try_current().is_ok_and(|here| here.id() == self.runtime().id())
    }

    /// Where subscriptions come from; outlives no task of these connections' by itself.
    pub(crate) fn feed(&self) -> Feed {
        Feed::new(Arc::clone(&self.0.shared))
    }

    pub(crate) fn address(&self) -> &str {
        self.0.shared.health.address()
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections")
            .field("config", self.config())
            .field("stats", &self.stats())
            .finish()
    }
}
