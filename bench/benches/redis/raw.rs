//! redis-rs by hand: `MultiplexedConnection`s, taken in turns.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cache_bench_kit::value::{BUDGET, Org, key, org};
use redis::aio::MultiplexedConnection;
use redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use redis::{AsyncConnectionConfig, Client, IntoConnectionInfo};

use crate::KEYS;
use crate::reads::{Reads, ReadsLarge, ReadsMany};

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
    pub(crate) async fn filled(url: &str, connections: usize, settings: Settings) -> Self {
        let mut info = url.into_connection_info().unwrap();
        let mut config = AsyncConnectionConfig::new();
        if !matches!(settings, Settings::Default) {
            info = info.set_tcp_settings(tcp());
            let timeout = matches!(settings, Settings::AsOurs).then_some(BUDGET);
            config = config.set_response_timeout(timeout);
        }
        let client = Client::open(info).unwrap();
        let mut opened = Vec::new();
        for _ in 0..connections {
            let connection = client.get_multiplexed_async_connection_with_config(&config).await;
            opened.push(connection.unwrap());
        }
        let keys: Vec<_> = (0..KEYS).map(|id| format!("raw:{}", key(id))).collect();
        for (id, key) in keys.iter().enumerate() {
            let json = serde_json::to_vec(&org(id)).unwrap();
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

fn tcp() -> TcpSettings {
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(10))
        .with_interval(Duration::from_secs(2));
    TcpSettings::default()
        .set_nodelay(true)
        .set_keepalive(keepalive)
        .set_user_timeout(Duration::from_secs(2))
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
