//! P6, bytes are checked: whatever stands under a key is a miss and a repair, never a panic and
//! never a wrong value.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod scenario;

use std::convert::Infallible;
use std::time::Duration;

use cache_core::{
    CacheError, CacheServiceExt, CacheStore, Clock, Entry, ErrorKind, LeaseOutcome, Policy,
    Timestamp,
};
use cache_redis::RedisCacheService;
use cache_testkit::servers::{FaultProxy, RedisServer};
use cache_testkit::{Loads, eventually};
use scenario::{LASTING, bounded, config, connect, name};

const RIGHT: &str = "Organisation é 日本 [1, 2]";

struct Poisoned {
    server: RedisServer,
    cache: RedisCacheService,
}

impl Poisoned {
    async fn start() -> Self {
        let server = RedisServer::start();
        let cache = connect(&server.url()).await;
        Self { server, cache }
    }

    fn raw(&self, key: &str) -> Vec<u8> {
        self.server.command(&["GET", &name(key)]).bytes().unwrap().to_vec()
    }

    fn put(&self, key: &str, bytes: &[u8]) {
        self.server.command(&[b"SET", name(key).as_bytes(), bytes, b"PX", b"3600000"]);
    }

    /// A read finds nothing or what is right; a load answers what is right; then it is stored.
    async fn repairs(&self, key: &str, how: &str) {
        let right = |found: Option<String>| found.is_none_or(|found| found == RIGHT);
        assert!(right(self.cache.get(key).await.unwrap()), "a wrong value: {how}");
        let many = self.cache.get_many::<String>(&["other", key]).await.unwrap();
        assert!(many.into_iter().all(right), "a wrong value: {how}");
        self.load_repairs(key, how).await;
    }

    async fn load_repairs(&self, key: &str, how: &str) {
        let load = || async { Ok::<_, Infallible>(RIGHT.to_owned()) };
        let loaded = self.cache.get_or_load(key, LASTING, load).await;
        assert_eq!(*loaded.unwrap(), RIGHT, "{how}");
        let found = self.cache.get::<String>(key).await.unwrap();
        assert_eq!(found.as_deref(), Some(RIGHT), "not repaired: {how}");
    }
}

/// The records to spoil: fresh, stale, with a lease on it, absent, and a lease alone.
async fn records(poisoned: &Poisoned) -> Vec<(&'static str, Vec<u8>)> {
    let cache = &poisoned.cache;
    cache.set("fresh", RIGHT, LASTING).await.unwrap();
    cache.set("leased", RIGHT, LASTING).await.unwrap();
    // Gone by itself soon, so that a lease that came through unspoilt is not long in the way.
    let lease = Duration::from_millis(1);
    cache.lease_to_replace("leased", lease).await.unwrap();
    let none = || async { Ok::<_, Infallible>(None::<String>) };
    cache.get_or_load_opt("absent", LASTING, none).await.unwrap();
    cache.lease("alone", lease).await.unwrap();
    let alone = b"\x89RC\x1a\x01\x40\x02\x00".iter().copied().chain([0; 56]).collect();
    let mut records: Vec<_> =
        ["fresh", "leased", "absent"].map(|key| (key, poisoned.raw(key))).to_vec();
    records.push(("no checksum", alone));
    records
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_01_every_byte_flipped() {
    let poisoned = Poisoned::start().await;
    for (what, record) in records(&poisoned).await {
        for at in 0..record.len() {
            for mask in [0x01, 0x80, 0xFF] {
                poisoned.put("k", &record);
                let flipped = [record[at] ^ mask];
                let offset = at.to_string();
                let key = name("k");
                poisoned.server.command(&[
                    b"SETRANGE",
                    key.as_bytes(),
                    offset.as_bytes(),
                    &flipped,
                ]);
                poisoned.repairs("k", &format!("{what}, byte {at} ^ {mask:#x}")).await;
            }
        }
    }
    assert!(poisoned.cache.store().unreadable() > 100);
    assert!(poisoned.cache.stats().errors > 100, "{:?}", poisoned.cache.stats());
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_02_every_truncation_and_bytes_too_many() {
    let poisoned = Poisoned::start().await;
    for (what, record) in records(&poisoned).await {
        for length in 0..record.len() {
            poisoned.put("k", &record[..length]);
            poisoned.repairs("k", &format!("{what}, cut to {length}")).await;
        }
        for extra in [&b"\0"[..], b"}", b"\x89RC\x1a"] {
            poisoned.put("k", &[&record[..], extra].concat());
            poisoned.repairs("k", &format!("{what} and {extra:?}")).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_03_random_bytes() {
    let poisoned = Poisoned::start().await;
    // The same in every run.
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for round in 0..1_000 {
        let head: &[u8] = match round % 5 {
            0 => b"",
            1 => b"{",
            2 => b"\x89RC\x1a",
            3 => b"\x89RC\x1a\x01\x40\x00\x00",
            _ => b"\x89RC\x1a\x01\x40\x02\x00",
        };
        let length = random() as usize % 96;
        let bytes: Vec<_> =
            head.iter().copied().chain((0..length).map(|_| random() as u8)).collect();
        // A digit alone is a JSON text, and no wrong one.
        if serde_json::from_slice::<serde_json::Value>(&bytes).is_ok() {
            continue;
        }
        poisoned.put("k", &bytes);
        poisoned.repairs("k", &format!("{bytes:?}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_04_foreign_json_is_read_with_its_ttl() {
    let poisoned = Poisoned::start().await;
    let (server, cache) = (&poisoned.server, &poisoned.cache);
    let loads = Loads::new();
    for (json, value) in [
        ("[1,2]", serde_json::json!([1, 2])),
        (" \n{\"id\": 7} ", serde_json::json!({"id": 7})),
        ("-1.5", serde_json::json!(-1.5)),
        ("\"é\"", serde_json::json!("é")),
        ("true", serde_json::json!(true)),
    ] {
        for ttl in [None, Some(60_000)] {
            match ttl {
                None => server.command(&["SET", &name("k"), json]),
                Some(ms) => server.command(&["SET", &name("k"), json, "PX", &ms.to_string()]),
            };
            assert_eq!(cache.get("k").await.unwrap(), Some(value.clone()), "{json}");
            let many = cache.get_many(&["absent", "k"]).await.unwrap();
            assert_eq!(many, [None, Some(value.clone())], "{json}");
            let load = loads.returning(serde_json::Value::Null);
            assert_eq!(*cache.get_or_load("k", LASTING, load).await.unwrap(), value, "{json}");
            let entry = cache.fetch("k").await.unwrap().unwrap();
            let left = cache.store().clock().now().until(entry.fresh_until());
            match ttl {
                None => assert_eq!(left, Duration::MAX, "{json}"),
                Some(ms) => {
                    let ttl = Duration::from_millis(ms);
                    assert!(left <= ttl && left > ttl / 2, "{json}: {left:?}");
                }
            }
            // It is left as it is.
            assert_eq!(poisoned.raw("k"), json.as_bytes());
        }
    }
    assert_eq!(loads.count(), 0, "it was there");
    assert_eq!(cache.store().unreadable(), 0);

    // Written and removed by us like any other.
    cache.set("k", RIGHT, LASTING).await.unwrap();
    assert_eq!(cache.get::<String>("k").await.unwrap().as_deref(), Some(RIGHT));
    server.command(&["SET", &name("k"), "7"]);
    cache.invalidate("k").await.unwrap();
    assert_eq!(cache.get::<u64>("k").await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_04_foreign_json_goes_when_its_key_does() {
    let poisoned = Poisoned::start().await;
    poisoned.server.command(&["SET", &name("k"), "7", "PX", "40"]);
    cache_testkit::eventually_async(async || {
        poisoned.cache.get::<u64>("k").await.unwrap().is_none()
    })
    .await;
    // Redis counts in milliseconds: it may hold the key for the rest of one.
    eventually(|| poisoned.server.command(&["EXISTS", &name("k")]).integer() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_04_much_foreign_json_is_read_in_two_round_trips() {
    let server = RedisServer::start();
    let proxy = FaultProxy::start(&server.url());
    // No heartbeat in between.
    let config = config(&proxy.url(&server.url())).heartbeat_interval(Duration::from_secs(60));
    let cache = RedisCacheService::connect(config).await.unwrap();
    let keys: Vec<_> = (0..500).map(|at| format!("k{at}")).collect();
    for (at, key) in keys.iter().enumerate() {
        // Most of them last; a few are ours, or absent.
        match at % 10 {
            8 => cache.set(key, &at, LASTING).await.unwrap(),
            9 => {}
            _ => drop(server.command(&["SET", &name(key), &at.to_string(), "PX", "3600000"])),
        }
    }
    proxy.latency(Duration::from_millis(2));
    let before = proxy.round_trips();
    let found = cache.store().fetch_many(&keys).await.unwrap();
    let trips = proxy.round_trips() - before;
    assert!(trips <= 2, "{trips} round trips");
    let now = cache.store().clock().now();
    for (at, entry) in found.into_iter().enumerate() {
        let Some(entry) = entry else {
            assert_eq!(at % 10, 9);
            continue;
        };
        assert_eq!(entry.decode::<usize>().unwrap(), at);
        let left = now.until(entry.fresh_until());
        assert!(left <= LASTING && left > LASTING / 2, "{at}: {left:?}");
    }
}

/// Two questions, each of which takes most of the budget.
#[tokio::test(flavor = "multi_thread")]
async fn p6_04_foreign_json_and_repairs_keep_to_one_budget() {
    let server = RedisServer::start();
    let proxy = FaultProxy::start(&server.url());
    let cache = connect(&proxy.url(&server.url())).await;
    server.command(&["SET", &name("json"), "7"]);
    server.command(&["SET", &name("garbage"), "{not JSON"]);
    proxy.latency(Duration::from_millis(100));
    let late = |error: CacheError| assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    late(bounded(cache.fetch("json")).await.unwrap_err());
    late(bounded(cache.fetch_many(&["json".to_owned()])).await.unwrap_err());
    late(bounded(cache.lease("garbage", LASTING)).await.unwrap_err());
    late(bounded(cache.lease_to_replace("json", LASTING)).await.unwrap_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_04_foreign_json_can_be_replaced_ahead_of_time() {
    let poisoned = Poisoned::start().await;
    let (server, store) = (&poisoned.server, poisoned.cache.store());
    for ttl in [None, Some(60_000)] {
        match ttl {
            None => server.command(&["SET", &name("k"), "[1]"]),
            Some(ms) => server.command(&["SET", &name("k"), "[1]", "PX", &ms.to_string()]),
        };
        for fills in [false, true] {
            let leased = store.lease_to_replace("k", LASTING).await.unwrap();
            let LeaseOutcome::Granted(lease) = leased else { unreachable!("{leased:?}") };
            let held = store.lease_to_replace("k", LASTING).await.unwrap();
            assert!(matches!(held, LeaseOutcome::Held { .. }), "{held:?}");
            let entry = store.fetch("k").await.unwrap().unwrap();
            assert_eq!(entry.decode::<[u64; 1]>().unwrap(), [1], "not readable meanwhile");
            let left = server.command(&["PTTL", &name("k")]).integer();
            match ttl {
                None => assert_eq!(left, -1),
                // The key outlives the lease, the value not its TTL.
                Some(ms) => {
                    let lease = i64::try_from(LASTING.as_millis()).unwrap();
                    assert!(left > ms && left <= lease + 1, "{left}");
                    let lives = Clock::system().now().until(entry.servable_until());
                    assert!(lives <= Duration::from_millis(ms.unsigned_abs() + 1_000), "{lives:?}");
                }
            }
            if fills {
                let entry = Entry::encode(&[2_u64], &Policy::ttl(LASTING)).unwrap();
                assert!(store.fill(lease, entry).await.unwrap());
            } else {
                store.abandon(lease).await.unwrap();
            }
        }
        let entry = store.fetch("k").await.unwrap().unwrap();
        assert_eq!(entry.decode::<[u64; 1]>().unwrap(), [2]);
    }
}

/// Nobody tells when someone else writes it.
#[tokio::test(flavor = "multi_thread")]
async fn p6_04_foreign_json_is_held_for_the_default_ttl_at_most() {
    let server = RedisServer::start();
    let ttl = Duration::from_secs(7);
    let config = config(&server.url()).default_ttl(ttl);
    let cache = RedisCacheService::connect(config).await.unwrap();
    server.command(&["SET", &name("k"), "[1]"]);
    let one = cache.fetch("k").await.unwrap().unwrap();
    let many = cache.fetch_many(&["k".to_owned()]).await.unwrap().remove(0).unwrap();
    let LeaseOutcome::Fresh(leased) = cache.lease("k", LASTING).await.unwrap() else {
        unreachable!("it is fresh")
    };
    for entry in [one, many, leased] {
        assert_eq!(entry.local_ttl(), Some(ttl));
        assert_eq!(entry.fresh_until(), Timestamp::MAX);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_05_wrong_redis_type() {
    let poisoned = Poisoned::start().await;
    let (server, cache) = (&poisoned.server, &poisoned.cache);
    cache.set("other", RIGHT, LASTING).await.unwrap();
    let key = name("k");
    let types: &[&[&str]] = &[
        &["RPUSH", &key, "1", "2"],
        &["HSET", &key, "field", "1"],
        &["SADD", &key, "1"],
        &["ZADD", &key, "1", "a"],
        &["XADD", &key, "*", "a", "b"],
    ];
    let make = |command: &[&str]| {
        server.command(&["DEL", &key]);
        server.command(command);
    };
    for command in types {
        let how = command[0];
        make(command);
        let before = cache.store().unreadable();
        assert_eq!(cache.get::<String>("k").await.unwrap(), None, "{how}");
        assert_eq!(cache.store().unreadable(), before + 1, "{how} was not counted");
        assert!(!cache.contains("k").await.unwrap(), "{how}");
        let many = cache.get_many::<String>(&["other", "k"]).await.unwrap();
        assert_eq!(many, [Some(RIGHT.to_owned()), None], "{how}");
        poisoned.load_repairs("k", how).await;
        make(command);
        let load = Loads::new().many(|_| Some(RIGHT.to_owned()));
        let loaded = cache.get_or_load_many(&["k", "other"], LASTING, load).await.unwrap();
        assert!(loaded.iter().all(|slot| slot.as_ref().is_some_and(|value| **value == RIGHT)));
        assert_eq!(cache.get::<String>("k").await.unwrap().as_deref(), Some(RIGHT), "{how}");
        make(command);
        cache.set("k", RIGHT, LASTING).await.unwrap();
        assert_eq!(cache.get::<String>("k").await.unwrap().as_deref(), Some(RIGHT), "{how}");
        make(command);
        cache.invalidate("k").await.unwrap();
        assert_eq!(server.command(&["EXISTS", &key]).integer(), 0, "{how}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_07_value_over_the_limit() {
    let server = RedisServer::start();
    // With its header a value is to fit into what Redis takes.
    let beyond = config(&server.url()).max_value_bytes((512 << 20) - 63);
    let error = RedisCacheService::connect(beyond).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    let limited = config(&server.url()).max_value_bytes(100);
    let cache = RedisCacheService::connect(limited).await.unwrap();
    // As JSON: two more.
    let (fits, over) = ("x".repeat(98), "x".repeat(99));
    cache.set("k", &fits, LASTING).await.unwrap();
    assert_eq!(cache.get::<String>("k").await.unwrap().as_ref(), Some(&fits));

    server.reset_commandstats();
    let error = cache.set("k", &over, LASTING).await.unwrap_err();
    assert_eq!((error.kind(), error.key()), (ErrorKind::TooLarge, Some("k")), "{error}");
    let items = [("a", fits.clone()), ("b", over.clone())];
    let error = cache.set_many(&items, LASTING).await.unwrap_err();
    assert_eq!((error.kind(), error.key()), (ErrorKind::TooLarge, Some("b")), "{error}");
    assert!(!server.commandstats().contains_key("set"), "{:?}", server.commandstats());
    assert_eq!(cache.get::<String>("k").await.unwrap(), Some(fits), "the old one is there");

    let load = Loads::new();
    for count in 1..=3 {
        let loaded = cache.get_or_load("big", LASTING, load.returning(over.clone())).await;
        assert_eq!(*loaded.unwrap(), over);
        assert_eq!(load.count(), count, "nothing was stored");
        assert_eq!(cache.get::<String>("big").await.unwrap(), None);
    }
    // Its lease is given back, too.
    eventually(|| server.command(&["EXISTS", &name("big")]).integer() == 0).await;

    // A stale value stays what it was.
    let stale = Policy::ttl(Duration::from_millis(1)).stale_for(LASTING);
    cache.set("stale", "old", &stale).await.unwrap();
    cache_testkit::eventually_async(async || cache.get::<String>("stale").await.unwrap().is_none())
        .await;
    let loaded = cache.get_or_load("stale", LASTING, load.returning(over.clone())).await;
    assert_eq!(*loaded.unwrap(), over);
    let entry = cache.fetch("stale").await.unwrap().unwrap();
    assert_eq!(entry.bytes(), Some(&b"\"old\""[..]));
    assert_eq!(server.command(&["DBSIZE"]).integer(), 2);
}
