//! What the tests share: a connection, the scripts on one key, and records around now.

use std::time::Duration;

use cache_core::Timestamp;
use cache_testkit::servers::RedisServer;
use redis::{Connection, FromRedisValue, RedisResult, cmd};

use crate::script::{Call, LeaseReply, Purpose};
use crate::wire::{Decoded, HEADER_LEN, LeaseMark, Value, decode, encode};

/// A server and one connection to it.
pub(crate) struct Fixture {
    pub(crate) connection: Connection,
    _server: RedisServer,
}

pub(crate) const KEY: &str = "ns:k";
pub(crate) const LONG: Duration = Duration::from_secs(60);
pub(crate) const SHORT: Duration = Duration::from_millis(30);
/// Lease ids. The bytes of some are special to Lua, to patterns or to C.
pub(crate) const ONE: u64 = 0x0025_FF0A_0000_0001;
pub(crate) const TWO: u64 = 0xFFFF_FFFF_FFFF_FFFF;

pub(crate) fn redis() -> Fixture {
    let server = RedisServer::start();
    let client = redis::Client::open(server.url()).expect("a URL");
    let connection = client.get_connection().expect("a connection");
    Fixture { connection, _server: server }
}

impl Fixture {
    pub(crate) fn run<T: FromRedisValue>(&mut self, line: &[&[u8]]) -> RedisResult<T> {
        let mut cmd = cmd(str::from_utf8(line[0]).expect("a command"));
        cmd.arg(&line[1..]);
        cmd.query(&mut self.connection)
    }

    /// A command as one would type it.
    pub(crate) fn typed<T: FromRedisValue>(&mut self, line: &str) -> T {
        let words: Vec<_> = line.split(' ').map(str::as_bytes).collect();
        self.run(&words).expect("a command that works")
    }

    pub(crate) fn call<T: FromRedisValue>(&mut self, call: Call<'_>) -> T {
        call.by_source().query(&mut self.connection).expect("a script that works")
    }

    pub(crate) fn lease(&mut self, id: u64, ttl: Duration) -> LeaseReply {
        self.lease_for(id, ttl, Purpose::Load)
    }

    pub(crate) fn lease_for(&mut self, id: u64, ttl: Duration, purpose: Purpose<'_>) -> LeaseReply {
        self.call(Call::Lease { key: KEY, id, ttl, purpose, waits: false, latest: None })
    }

    pub(crate) fn fill(&mut self, id: u64, record: &[u8]) -> bool {
        self.call(Call::Fill { key: KEY, id, record, notice: None })
    }

    pub(crate) fn abandon(&mut self, id: u64) -> bool {
        self.call(Call::Abandon { key: KEY, id, notice: None })
    }

    pub(crate) fn now(&mut self) -> Timestamp {
        let (seconds, micros): (u64, u64) = self.typed("TIME");
        Timestamp::from_micros(seconds * 1_000_000 + micros)
    }

    pub(crate) fn get(&mut self) -> Vec<u8> {
        self.typed(&format!("GET {KEY}"))
    }

    pub(crate) fn exists(&mut self) -> bool {
        self.typed(&format!("EXISTS {KEY}"))
    }

    /// Milliseconds; -1: for ever, -2: no key.
    pub(crate) fn pttl(&mut self) -> i64 {
        self.typed(&format!("PTTL {KEY}"))
    }

    pub(crate) fn set(&mut self, bytes: &[u8]) {
        self.run::<()>(&[b"SET", KEY.as_bytes(), bytes]).expect("SET");
    }

    pub(crate) fn set_for(&mut self, bytes: &[u8], millis: &str) {
        let line = [b"SET", KEY.as_bytes(), bytes, b"PX", millis.as_bytes()];
        self.run::<()>(&line).expect("SET PX");
    }

    /// A record that ends its freshness and servability so many milliseconds from now.
    pub(crate) fn record(&mut self, fresh: i64, servable: i64) -> Vec<u8> {
        let now = self.now().as_micros();
        let at = |millis: i64| Timestamp::from_micros(now.saturating_add_signed(millis * 1_000));
        let (fresh_until, servable_until) = (at(fresh), at(servable));
        encode(&Value {
            payload: Some(b"{\"v\":1}"),
            fresh_until,
            servable_until,
            local_ttl: None,
            lease: None,
        })
    }

    /// The lease that is on the key.
    pub(crate) fn mark(&mut self) -> Option<LeaseMark> {
        let bytes = self.get();
        match decode(&bytes) {
            Decoded::Value(value) => value.lease,
            Decoded::LeaseOnly(lease) => lease,
            other => unreachable!("{other:?}"),
        }
    }

    /// Checks that nothing but the lease differs from `record`.
    pub(crate) fn assert_holds(&mut self, record: &[u8]) {
        let bytes = self.get();
        let (Decoded::Value(is), Decoded::Value(was)) = (decode(&bytes), decode(record)) else {
            unreachable!("{bytes:?}");
        };
        assert_eq!(Value { lease: None, ..is }, Value { lease: None, ..was });
        assert_eq!(bytes[..36], record[..36]);
        assert_eq!(bytes[HEADER_LEN..], record[HEADER_LEN..]);
    }
}

pub(crate) fn held_for(reply: LeaseReply) -> Duration {
    match reply {
        LeaseReply::Held(left) => left,
        other => unreachable!("{other:?}"),
    }
}

pub(crate) fn between<T: PartialOrd + Copy + std::fmt::Debug>(least: T, is: T, most: T) {
    assert!(least <= is && is <= most, "{is:?} is not from {least:?} to {most:?}");
}
