//! redis-rs by hand: what a round trip takes.

use std::time::{Duration, Instant};

use cache_bench_kit::Times;
use futures_util::StreamExt;
use redis::AsyncConnectionConfig;
use redis::aio::MultiplexedConnection;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::tcp;

/// How long a call may take. A timer costs the same however long it is, and machines stand still.
pub(crate) const BUDGET: Duration = Duration::from_secs(5);

/// With the socket options of ours, and a time limit for each call, as ours has.
pub(crate) async fn connection(url: &str) -> MultiplexedConnection {
    let config = AsyncConnectionConfig::new().set_response_timeout(Some(BUDGET));
    tcp::client(url).get_multiplexed_async_connection_with_config(&config).await.unwrap()
}

/// A GET that finds nothing.
pub(crate) async fn get(connection: &mut MultiplexedConnection) {
    let found: Option<Vec<u8>> =
        redis::cmd("GET").arg("none").query_async(connection).await.unwrap();
    assert!(found.is_none());
}

/// How long that takes.
pub(crate) async fn round_trip(connection: &mut MultiplexedConnection) -> Duration {
    let start = Instant::now();
    get(connection).await;
    start.elapsed()
}

/// Our script that takes a lock, by hand.
pub(crate) struct Script {
    connection: MultiplexedConnection,
    sha: String,
    taken: u64,
}

impl Script {
    pub(crate) async fn connect(url: &str) -> Self {
        let source = concat!(
            include_str!("../../../concurrency/src/redis/lua/common.lua"),
            include_str!("../../../concurrency/src/redis/lua/acquire.lua")
        );
        let mut connection = connection(url).await;
        let mut load = redis::cmd("SCRIPT");
        let sha = load.arg("LOAD").arg(source).query_async(&mut connection).await.unwrap();
        Self { connection, sha, taken: 0 }
    }

    /// Takes a lock that nobody has had.
    pub(crate) async fn acquire(&mut self) {
        self.taken += 1;
        let mut call = redis::cmd("EVALSHA");
        call.arg(&self.sha).arg(4);
        for of in ["l", "f", "q", "w"] {
            call.arg(format!("{{raw:{}}}.{of}", self.taken));
        }
        call.arg("0c9f4b1e-5d0b-4a55-8a3a-3f8b6c1d7e2f.1@pid 7").arg("lock/raw/").arg(1);
        let (granted, ..): (bool, i64, Vec<u8>) =
            call.arg(30_000).arg(3_000).arg(1).query_async(&mut self.connection).await.unwrap();
        assert!(granted);
    }
}

/// Hears what is published, in a task of its own: the least that telling another process takes.
pub(crate) struct Heard {
    channel: String,
    connection: MultiplexedConnection,
    heard: UnboundedReceiver<Instant>,
}

impl Heard {
    pub(crate) async fn connect(url: &str) -> Self {
        let (connection, channel) = (connection(url).await, format!("raw {url}"));
        let mut subscription = tcp::client(url).get_async_pubsub().await.unwrap();
        subscription.subscribe(&channel).await.unwrap();
        let (tell, heard) = unbounded_channel();
        tokio::spawn(async move {
            let mut messages = subscription.into_on_message();
            while messages.next().await.is_some() && tell.send(Instant::now()).is_ok() {}
        });
        Self { channel, connection, heard }
    }

    /// From sending to hearing.
    pub(crate) async fn publish(&mut self) -> Duration {
        let start = Instant::now();
        let mut publish = redis::cmd("PUBLISH");
        publish.arg(&self.channel).arg("x");
        let heard: u64 = publish.query_async(&mut self.connection).await.unwrap();
        assert_eq!(heard, 1);
        self.heard.recv().await.unwrap() - start
    }
}

/// What a PING takes.
pub(crate) async fn pings(url: &str, count: usize) -> Times {
    let mut connection = connection(url).await;
    let mut times = Times::default();
    for _ in 0..count {
        let start = Instant::now();
        let _: String = redis::cmd("PING").query_async(&mut connection).await.unwrap();
        times.add(start.elapsed());
    }
    times
}
