//! How a [`RedisConcurrencyService`] is made over connections.

use std::time::Duration;

use cache_core::{CacheError, ErrorKind, TracedKeys};
use cache_redis::Connections;

use super::RedisConcurrencyService;
use super::durability::Durability;
use super::inner::{Inner, Settings};

/// The longest wait for replicas: it counts against the lease.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Settings of a [`RedisConcurrencyService`].
#[derive(Debug)]
#[must_use = "a builder makes nothing until `build`"]
pub struct RedisConcurrencyBuilder {
    connections: Connections,
    namespace: String,
    durability: Option<Durability>,
    confirm: bool,
    traced_keys: TracedKeys,
}

impl RedisConcurrencyBuilder {
    pub(super) fn new(connections: Connections) -> Self {
        let namespace = connections.config().namespace_name().to_owned();
        let traced_keys = TracedKeys::default();
        Self { connections, namespace, durability: None, confirm: false, traced_keys }
    }

    /// Locks of different namespaces are different locks; the connections' namespace unless set.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// A lock counts as taken once this many replicas (1 to 100) have it, which is asked with
    /// [`WAIT`](https://redis.io/docs/latest/commands/wait/); if that takes longer than `within` (1 ms to
    /// 10 s), or than what is left of the caller's [`wait`](cache_core::LockOptions::wait) and
    /// 200 ms, it is given back, and the caller gets
    /// [`Unavailable`](cache_core::LockErrorKind::Unavailable). Off unless set.
    ///
    /// It makes a second holder after a failover less likely, not impossible: a replica that has
    /// not the lock may be promoted all the same, and renewals are not waited for, so one that has it
    /// may have it with less of its lease. It costs a round trip between server and
    /// replica, which locks that are taken at the same time share. A replica whose answers take
    /// longer than 200 ms does not count, however long `within` is.
    pub fn replicas(mut self, replicas: u32, within: Duration) -> Self {
        self.durability = Some(Durability { replicas, within });
        self
    }

    /// Whether a lock that is handed over is asked for before it counts, which costs a second round
    /// trip; off. On one server a message is known to be young by the answers to heartbeats that
    /// come in the same stream. That needs a connection to the server itself: behind a proxy that
    /// answers `PING` for the server, or puts streams together, turn this on.
    pub fn confirm_hand_overs(mut self, confirm: bool) -> Self {
        self.confirm = confirm;
        self
    }

    /// How keys stand in spans; hashed unless set. No effect without the feature `tracing`.
    pub fn traced_keys(mut self, keys: TracedKeys) -> Self {
        self.traced_keys = keys;
        self
    }

    /// The service.
    ///
    /// # Errors
    ///
    /// [`Config`](ErrorKind::Config) outside a tokio runtime, for replicas out of range, and for
    /// replicas in a cluster.
    pub fn build(self) -> Result<RedisConcurrencyService, CacheError> {
        let Self { connections, namespace, durability, confirm, traced_keys } = self;
        let refused = |message: String| Err(CacheError::new(ErrorKind::Config, message));
        if let Some(Durability { replicas, within }) = durability {
            if !(1..=100).contains(&replicas) {
                return refused(format!("replicas is {replicas}; it must be 1 to 100"));
            }
            if !(Duration::from_millis(1)..=LONGEST_WAIT).contains(&within) {
                let range = format!("it must be 1ms to {LONGEST_WAIT:?}");
                return refused(format!("the wait for replicas is {within:?}; {range}"));
            }
            if connections.is_cluster() {
                return refused("replicas cannot be waited for in a cluster".to_owned());
            }
        }
        let settings = Settings { namespace, durability, confirm, traced_keys };
        Inner::start(connections, settings).map(RedisConcurrencyService::of)
    }
}
