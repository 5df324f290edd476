//! `fred` 10: a client, or a pool of clients that take turns, with `TCP_NODELAY` as its examples set it.
//!
//! Its own choices: requests of all tasks are pipelined, no timeout for a command.

use ::fred::prelude::*;
use ::fred::types::config::TcpConfig;
use cache_bench_kit::value::{Org, Size, key};

use crate::KEYS;
use crate::reads::Reads;

pub(crate) struct Fred {
    pool: Pool,
    keys: Vec<String>,
}

impl Fred {
    pub(crate) async fn filled(url: &str, size: Size, clients: usize) -> Self {
        let mut builder = Builder::from_config(Config::from_url(url).unwrap());
        builder.with_connection_config(|config| {
            config.tcp = TcpConfig { nodelay: Some(true), ..TcpConfig::default() };
        });
        let pool = builder.build_pool(clients).unwrap();
        pool.init().await.unwrap();
        let keys: Vec<_> = (0..KEYS).map(|id| format!("fred:{}", key(id))).collect();
        for (id, key) in keys.iter().enumerate() {
            let json = serde_json::to_string(&size.org(id)).unwrap();
            let expires = Some(Expiration::EX(3_600));
            pool.set::<(), _, _>(key, json, expires, None, false).await.unwrap();
        }
        Self { pool, keys }
    }
}

impl Reads for Fred {
    async fn read(&self, id: usize) -> Org {
        let json: Option<Vec<u8>> = self.pool.get(&self.keys[id]).await.unwrap();
        serde_json::from_slice(&json.expect("a hit")).unwrap()
    }
}
