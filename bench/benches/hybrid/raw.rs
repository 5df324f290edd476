//! redis-rs by hand: the round trips of a miss, one after the other on one connection.

use std::time::Duration;

use cache_bench_kit::value::{BUDGET, TTL, org};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd};

use crate::tcp;

macro_rules! source {
    ($file:literal) => {
        concat!(
            include_str!("../../../cache-redis/src/script/prelude.lua"),
            "\n",
            include_str!(concat!("../../../cache-redis/src/script/", $file))
        )
    };
}

/// Until when a request for a lease is good by the server's clock, in microseconds: whenever.
const LATEST: u64 = 9_000_000_000_000_000;
/// How long the header of a record is.
const HEADER: usize = 64;

pub(crate) struct Raw {
    connection: MultiplexedConnection,
    lease: String,
    fill: String,
    /// The header of a record that lives for the time of ours.
    header: Vec<u8>,
}

impl Raw {
    /// With the socket options of ours, each call with a time limit, as ours has. `model`: a key that the hybrid has filled.
    pub(crate) async fn connect(url: &str, model: &str) -> Self {
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(BUDGET));
        let opened = tcp::client(url).get_multiplexed_async_connection_with_config(&config).await;
        let mut connection = opened.unwrap();
        let lease = script(&mut connection, source!("lease.lua")).await;
        let fill = script(&mut connection, source!("fill.lua")).await;
        let record: Vec<u8> =
            redis::cmd("GET").arg(model).query_async(&mut connection).await.unwrap();
        Self { connection, lease, fill, header: record[..HEADER].to_vec() }
    }

    /// One round trip: a GET that finds nothing.
    pub(crate) async fn round_trip(&self) {
        let found: Option<Vec<u8>> = self.ask(redis::cmd("GET").arg("raw:none")).await;
        assert!(found.is_none());
    }

    /// GET, a plain lock, a plain write: what it takes at least, with no promise kept.
    pub(crate) async fn miss_plain(&self, id: usize) {
        let key = format!("plain:{id:08}");
        let (lock, token) = (format!("lock:{key}"), fastrand::u64(..).to_be_bytes());
        let found: Option<Vec<u8>> = self.ask(redis::cmd("GET").arg(&key)).await;
        assert!(found.is_none());
        let mut take = redis::cmd("SET");
        take.arg(&lock).arg(&token).arg("NX").arg("PX").arg(30_000);
        let taken: Option<String> = self.ask(&take).await;
        assert!(taken.is_some());
        let json = serde_json::to_vec(&org(id)).unwrap();
        let mut set = redis::cmd("SET");
        let _: String = self.ask(set.arg(&key).arg(json).arg("PX").arg(millis(TTL))).await;
    }

    /// GET, then the scripts of ours with the arguments of ours.
    pub(crate) async fn miss_leased(&self, id: usize) {
        let key = format!("raw:{id:08}");
        let lease_id = fastrand::u64(..).to_be_bytes();
        let found: Option<Vec<u8>> = self.ask(redis::cmd("GET").arg(&key)).await;
        assert!(found.is_none());
        let mut lease = redis::cmd("EVALSHA");
        lease.arg(&self.lease).arg(1).arg(&key).arg(&lease_id).arg(30_000_000);
        lease.arg("load").arg("").arg("waits").arg(LATEST);
        let granted: Vec<i64> = self.ask(&lease).await;
        assert_eq!(granted, [1]);
        let mut record = self.header.clone();
        serde_json::to_writer(&mut record, &org(id)).unwrap();
        let payload = u32::try_from(record.len() - HEADER).unwrap();
        record[24..28].copy_from_slice(&payload.to_be_bytes());
        let message = format!(r#"{{"v":1,"from":"0123456789abcdef","filled":["{key}"]}}"#);
        let mut fill = redis::cmd("EVALSHA");
        fill.arg(&self.fill).arg(1).arg(&key).arg(&lease_id).arg(record);
        let filled: u8 = self.ask(fill.arg("cache:invalidate").arg(message)).await;
        assert_eq!(filled, 1);
    }

    async fn ask<T: redis::FromRedisValue>(&self, cmd: &Cmd) -> T {
        cmd.query_async(&mut self.connection.clone()).await.unwrap()
    }
}

async fn script(connection: &mut MultiplexedConnection, source: &str) -> String {
    redis::cmd("SCRIPT").arg("LOAD").arg(source).query_async(connection).await.unwrap()
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap()
}
