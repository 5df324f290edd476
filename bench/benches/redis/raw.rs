//! redis-rs by hand: `MultiplexedConnection`s, taken in turns.

use std::sync::atomic::{AtomicUsize, Ordering};

use cache_bench_kit::value::{BUDGET, Org, Size, key};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client};

use crate::KEYS;
use crate::reads::{Reads, ReadsLarge, ReadsMany};
use crate::tcp;

/// What a connection is set to.
#[derive(Clone, Copy)]
pub(crate) enum Settings {
    /// The socket options of ours, and a call ends within the budget of ours.
    AsOurs,
    /// The same without an end: a call may wait for ever.
    NoTimeout,
    /// What redis-rs has by default: no `TCP_NODELAY`, 500 ms for a call.
    Default,
}

pub(crate) struct Raw {
    connections: Vec<MultiplexedConnection>,
    next: AtomicUsize,
    keys: Vec<String>,
}

impl Raw {
    pub(crate) async fn filled(
        url: &str,
        size: Size,
        connections: usize,
        settings: Settings,
    ) -> Self {
        let config = AsyncConnectionConfig::new();
        let (client, config) = match settings {
            Settings::AsOurs => (tcp::client(url), config.set_response_timeout(Some(BUDGET))),
            Settings::NoTimeout => (tcp::client(url), config.set_response_timeout(None)),
            Settings::Default => (Client::open(url).unwrap(), config),
        };
        let mut opened = Vec::new();
        for _ in 0..connections {
            let connection = client.get_multiplexed_async_connection_with_config(&config).await;
            opened.push(connection.unwrap());
        }
        let keys: Vec<_> = (0..KEYS).map(|id| format!("raw:{}", key(id))).collect();
        for (id, key) in keys.iter().enumerate() {
            let json = serde_json::to_vec(&size.org(id)).unwrap();
            let mut set = redis::cmd("SET");
            set.arg(key).arg(json).arg("PX").arg(3_600_000);
            set.exec_async(&mut opened[0]).await.unwrap();
        }
        Self { connections: opened, next: AtomicUsize::new(0), keys }
    }

    fn connection(&self) -> MultiplexedConnection {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        self.connections[turn % self.connections.len()].clone()
    }
}

impl Reads for Raw {
    async fn read(&self, id: usize) -> Org {
        let mut connection = self.connection();
        let mut get = redis::cmd("GET");
        get.arg(&self.keys[id]);
        let json: Option<Vec<u8>> = get.query_async(&mut connection).await.unwrap();
        serde_json::from_slice(&json.expect("a hit")).unwrap()
    }
}

impl ReadsMany for Raw {
    async fn read_many(&self, ids: &[usize]) -> Vec<Org> {
        let mut connection = self.connection();
        let mut get = redis::cmd("MGET");
        for &id in ids {
            get.arg(&self.keys[id]);
        }
        let found: Vec<Option<Vec<u8>>> = get.query_async(&mut connection).await.unwrap();
        let decode = |json: Option<Vec<u8>>| serde_json::from_slice(&json.expect("a hit")).unwrap();
        found.into_iter().map(decode).collect()
    }
}

impl ReadsLarge for Raw {
    async fn store_large(&self, text: &str) {
        let mut set = redis::cmd("SET");
        set.arg("raw:large").arg(serde_json::to_vec(text).unwrap());
        set.exec_async(&mut self.connection()).await.unwrap();
    }

    async fn read_large(&self) -> String {
        let mut get = redis::cmd("GET");
        let json: Vec<u8> = get.arg("raw:large").query_async(&mut self.connection()).await.unwrap();
        serde_json::from_slice(&json).unwrap()
    }
}
