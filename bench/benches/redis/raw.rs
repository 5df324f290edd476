//! redis-rs by hand: as many connections as ours, with the socket options of ours, taken in turns.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use redis::{AsyncConnectionConfig, Client, IntoConnectionInfo};

use crate::reads::{Reads, ReadsMany};
use crate::value::{BUDGET, KEYS, Org, key, org};

/// What `RedisConfig` has by default, for small operations.
const CONNECTIONS: usize = 2;

/// Whether a call ends when the server does not answer, as ours does.
#[derive(Clone, Copy)]
pub(crate) enum Timeout {
    /// Within the budget of ours.
    Budget,
    Never,
}

pub(crate) struct Raw {
    connections: Vec<MultiplexedConnection>,
    next: AtomicUsize,
    keys: Vec<String>,
}

impl Raw {
    pub(crate) async fn filled(url: &str, timeout: Timeout) -> Self {
        let keepalive = TcpKeepalive::new()
            .with_time(Duration::from_secs(10))
            .with_interval(Duration::from_secs(2));
        let tcp = TcpSettings::default()
            .set_nodelay(true)
            .set_keepalive(keepalive)
            .set_user_timeout(Duration::from_secs(2));
        let info = url.into_connection_info().unwrap().set_tcp_settings(tcp);
        let client = Client::open(info).unwrap();
        let timeout = match timeout {
            Timeout::Budget => Some(BUDGET),
            Timeout::Never => None,
        };
        let config = AsyncConnectionConfig::new().set_response_timeout(timeout);
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            let opened = client.get_multiplexed_async_connection_with_config(&config).await;
            connections.push(opened.unwrap());
        }
        let keys: Vec<_> = (0..KEYS).map(|id| format!("raw:{}", key(id))).collect();
        for (id, key) in keys.iter().enumerate() {
            let json = serde_json::to_vec(&org(id)).unwrap();
            let mut set = redis::cmd("SET");
            set.arg(key).arg(json).arg("PX").arg(3_600_000);
            set.exec_async(&mut connections[0]).await.unwrap();
        }
        Self { connections, next: AtomicUsize::new(0), keys }
    }

    fn connection(&self) -> MultiplexedConnection {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        self.connections[turn % CONNECTIONS].clone()
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
