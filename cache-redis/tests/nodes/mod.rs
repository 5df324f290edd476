//! What the bus tests share: nodes that tell and listen.
#![allow(dead_code, unreachable_pub, reason = "each test file takes what it needs")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::time::Duration;

use cache_core::{BusEvent, InvalidationBus, Selector};
use cache_redis::{Connections, RedisBus, RedisConfig};
use cache_testkit::servers::RedisServer;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;

/// How long to wait for what must come: far longer than it takes.
const DEADLINE: Duration = Duration::from_secs(10);

/// One process of the fleet, as far as Redis can tell.
pub struct Node {
    pub connections: Connections,
    pub bus: RedisBus,
    pub events: BoxStream<'static, BusEvent>,
}

impl Node {
    pub async fn start(url: &str) -> Self {
        Self::with(config(url)).await
    }

    pub async fn with(config: RedisConfig) -> Self {
        let connections = Connections::connect(&config).await.unwrap();
        let bus = RedisBus::new(connections.clone()).unwrap();
        let events = bus.subscribe();
        let mut node = Self { connections, bus, events };
        assert_eq!(node.hears().await, BusEvent::Connected);
        node
    }

    /// The next event.
    pub async fn hears(&mut self) -> BusEvent {
        let event = tokio::time::timeout(DEADLINE, self.events.next()).await;
        event.unwrap_or_else(|_| unreachable!("nothing came: {:?}", self.bus)).unwrap()
    }

    pub async fn tells(&self, what: &Selector) {
        self.bus.publish(what).await.unwrap();
    }
}

/// What is told is the subject here, not the budget of a call on a busy machine.
pub fn config(url: &str) -> RedisConfig {
    RedisConfig::from_url(url).unwrap().operation_timeout(Duration::from_secs(5))
}

pub fn key(key: &str) -> Selector {
    Selector::key(key)
}

pub fn removed(name: &str) -> BusEvent {
    BusEvent::Removed(key(name))
}

/// How many clients of the server are subscribed.
pub fn subscribers(server: &RedisServer) -> usize {
    server.command(&["CLIENT", "LIST", "TYPE", "pubsub"]).text().lines().count()
}
