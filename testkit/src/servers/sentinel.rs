//! A primary, a replica, and sentinels that watch them.

use std::fmt::Write;
use std::time::Duration;

use super::launch::wait_until;
use super::options::{Kind, Options};
use super::replication::{is_in_step, is_primary};
use super::resp::Reply;
use super::server::RedisServer;

/// The name under which the sentinels know the primary.
const SERVICE: &str = "main";

/// How often, in milliseconds, a sentinel asks whether the servers are there, asks for their state,
/// and tells the other sentinels of itself; set each time one starts.
///
/// The first is to be well below the 1,000 ms after which a server is held to be down: the first
/// question comes that long after connecting. And what a replica has said counts for five times
/// the first when its primary is down, which is to be well above the second.
pub(super) const PERIODS: &[&str] =
    &["SENTINEL", "DEBUG", "PING-PERIOD", "400", "INFO-PERIOD", "1000", "PUBLISH-PERIOD", "200"];

/// How long a failover may take; it takes one to three seconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// A primary with a replica, watched by sentinels; gone when dropped.
///
/// The sentinels think the primary down after a second of silence and then promote the replica,
/// which takes about one second more. Blocking, like [`RedisServer`].
///
/// ```
/// use cache_testkit::RedisSentinel;
///
/// let sentinel = RedisSentinel::start();
/// let before = sentinel.primary().port();
/// sentinel.failover();
/// assert_ne!(sentinel.primary().port(), before);
/// assert_eq!(sentinel.replica().port(), before);
/// ```
#[derive(Debug)]
pub struct RedisSentinel {
    sentinels: Vec<RedisServer>,
    data: [RedisServer; 2],
}

impl RedisSentinel {
    /// Starts a primary, a replica and one sentinel.
    ///
    /// # Panics
    ///
    /// As [`with_sentinels`](Self::with_sentinels).
    #[must_use]
    pub fn start() -> Self {
        Self::with_sentinels(1)
    }

    /// Starts a primary, a replica and so many sentinels, most of whom have to agree; waits until
    /// the replica is in step and every sentinel knows of it and of the other sentinels.
    ///
    /// # Panics
    ///
    /// As [`RedisServerBuilder::start`](super::RedisServerBuilder::start); if there is no sentinel;
    /// if they do not know each other within 20 s.
    #[must_use]
    pub fn with_sentinels(sentinels: usize) -> Self {
        assert!(sentinels > 0, "there has to be a sentinel");
        let options = Options { kind: Kind::Replicated, ..Options::default() };
        let data = [(); 2].map(|()| RedisServer::launch_new(&options));
        let port = data[0].port().to_string();
        data[1].command(&["REPLICAOF", "127.0.0.1", &port]);
        wait_until("the replica is in step", PATIENCE, || is_in_step(&data[0], &data[1]));

        let quorum = sentinels / 2 + 1;
        let options = Options {
            kind: Kind::Sentinel,
            lines: vec![
                format!("sentinel monitor {SERVICE} 127.0.0.1 {port} {quorum}"),
                format!("sentinel down-after-milliseconds {SERVICE} 1000"),
                format!("sentinel failover-timeout {SERVICE} 3000"),
            ],
            ..Options::default()
        };
        let sentinels = (0..sentinels).map(|_| RedisServer::launch_new(&options)).collect();
        let all = Self { sentinels, data };
        wait_until("the sentinels know everybody", PATIENCE, || all.know_everybody());
        for server in &all.data {
            server.reset_commandstats();
        }
        all
    }

    /// Where clients find the primary:
    /// `redis-sentinel://h:p/0?sentinelServiceName=main&node=h2:p2`.
    #[must_use]
    pub fn url(&self) -> String {
        let first = self.sentinels[0].addr();
        let mut url = format!("redis-sentinel://{first}/0?sentinelServiceName={SERVICE}");
        for sentinel in &self.sentinels[1..] {
            write!(url, "&node={}", sentinel.addr()).expect("a string takes it");
        }
        url
    }

    /// The sentinels.
    #[must_use]
    pub fn sentinels(&self) -> &[RedisServer] {
        &self.sentinels
    }

    /// The server that the first running sentinel calls the primary, even if it is gone.
    ///
    /// # Panics
    ///
    /// If no sentinel runs.
    #[must_use]
    pub fn primary(&self) -> &RedisServer {
        self.in_order()[0]
    }

    /// The other server.
    ///
    /// # Panics
    ///
    /// If no sentinel runs.
    #[must_use]
    pub fn replica(&self) -> &RedisServer {
        self.in_order()[1]
    }

    /// Has the sentinels exchange the two servers' roles, and waits until both have their new one
    /// and are in step. What was written before is kept.
    ///
    /// # Panics
    ///
    /// If that does not come about within 20 s, or the sentinel refuses, such as when the replica
    /// is gone.
    #[track_caller]
    pub fn failover(&self) {
        self.wait_until_in_step();
        let [old, new] = self.in_order();
        self.sentinel().command(&["SENTINEL", "FAILOVER", SERVICE]);
        wait_until("the roles are exchanged", PATIENCE, || {
            let exchanged = self.primary().port() == new.port();
            exchanged && is_primary(new) && is_in_step(new, old) && self.know_everybody()
        });
    }

    /// Kills the primary and returns it, without waiting for anything: what was just written may
    /// be lost ([`wait_until_in_step`](Self::wait_until_in_step) before), and the replica is promoted
    /// later ([`wait_until_promoted`](Self::wait_until_promoted) after).
    ///
    /// # Panics
    ///
    /// If no sentinel runs.
    pub fn kill_primary(&self) -> &RedisServer {
        let primary = self.primary();
        primary.kill();
        primary
    }

    /// Waits until the server that the sentinels call the primary runs and takes writes, and
    /// returns it.
    ///
    /// # Panics
    ///
    /// If that does not come about within 20 s.
    #[track_caller]
    pub fn wait_until_promoted(&self) -> &RedisServer {
        wait_until("there is a primary", PATIENCE, || {
            let primary = self.primary();
            primary.is_running() && is_primary(primary)
        });
        self.primary()
    }

    /// Waits until the replica has everything that was written so far, and every sentinel could
    /// promote it. Until then what was written may be lost with the primary. A server that was
    /// killed and [restarted](RedisServer::restart) is made a replica by the sentinels first, which
    /// takes a few seconds.
    ///
    /// # Panics
    ///
    /// If that does not come about within 20 s.
    #[track_caller]
    pub fn wait_until_in_step(&self) {
        wait_until("primary and replica are in step", PATIENCE, || {
            let [primary, replica] = self.in_order();
            let run = primary.is_running() && replica.is_running();
            run && is_primary(primary) && is_in_step(primary, replica) && self.know_everybody()
        });
    }

    /// The first sentinel that runs.
    fn sentinel(&self) -> &RedisServer {
        self.sentinels.iter().find(|sentinel| sentinel.is_running()).expect("no sentinel runs")
    }

    /// Primary and replica.
    fn in_order(&self) -> [&RedisServer; 2] {
        let reply = self.sentinel().command(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE]);
        let port = reply.list()[1].integer();
        let [a, b] = &self.data;
        if i64::from(a.port()) == port { [a, b] } else { [b, a] }
    }

    /// Whether every sentinel could promote the replica, and knows the other sentinels.
    fn know_everybody(&self) -> bool {
        self.sentinels.iter().filter(|sentinel| sentinel.is_running()).all(|sentinel| {
            let replicas = sentinel.command(&["SENTINEL", "REPLICAS", SERVICE]);
            let fit = |replica: &Reply| {
                let field = |name| {
                    let (pairs, _) = replica.list().as_chunks::<2>();
                    pairs.iter().find(|[key, _]| *key == name).map(|[_, value]| value.text())
                };
                field("flags").is_some_and(|flags| flags == "slave")
                    && field("master-link-status").is_some_and(|status| status == "ok")
            };
            let others = sentinel.command(&["SENTINEL", "SENTINELS", SERVICE]).list().len();
            replicas.list().iter().filter(|replica| fit(replica)).count() == 1
                && others + 1 == self.sentinels.len()
        })
    }
}
