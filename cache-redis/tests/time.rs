//! P8, time: an entry ends when its time is over, by the server's clock, whatever ours says.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod scenario;

use std::time::{Duration, Instant};

use cache_core::{CacheServiceExt, CacheStore, Clock, Entry, LeaseOutcome, ManualClock, Policy};
use cache_redis::RedisCacheService;
use cache_testkit::servers::RedisServer;
use cache_testkit::{Gate, Loads};
use scenario::{LASTING, config, connect, get, load, name};
use tokio::task::JoinHandle;

const SKEW: Duration = Duration::from_secs(5);

/// Reads until the value is gone. It was there for its TTL, and no longer, give or take `margin`.
async fn lives_as_long_as(
    cache: &RedisCacheService,
    (before, after): (Instant, Instant),
    ttl: Duration,
    margin: Duration,
) {
    loop {
        let begun = Instant::now();
        let found = get(cache, "k").await;
        let ended = Instant::now();
        if found.is_none() {
            let lived = ended - before;
            assert!(lived + margin >= ttl, "gone after {lived:?}");
            return;
        }
        // A read that begins when its time is over.
        let lived = begun.saturating_duration_since(after);
        assert!(lived <= ttl + margin, "there after {lived:?}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_01_ttl_to_the_millisecond() {
    let server = RedisServer::start();
    let cache = connect(&server.url()).await;
    for ttl in [1, 5, 50, 200] {
        let ttl = Duration::from_millis(ttl);
        let before = Instant::now();
        cache.set("k", &1_u64, ttl).await.unwrap();
        let written = (before, Instant::now());
        // What is left of a millisecond, and what the offset may have moved by since it was set.
        lives_as_long_as(&cache, written, ttl, Duration::from_millis(2)).await;
    }
    // Loaded ones likewise, and the key itself goes.
    let loads = Loads::new();
    let ttl = Duration::from_millis(100);
    let before = Instant::now();
    cache.get_or_load("k", ttl, loads.returning(1_u64)).await.unwrap();
    let left = server.command(&["PTTL", &name("k")]).integer();
    assert!((1..=101).contains(&left), "{left}");
    lives_as_long_as(&cache, (before, Instant::now()), ttl, Duration::from_millis(2)).await;
    cache_testkit::eventually(|| server.command(&["DBSIZE"]).integer() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_02_zero_and_tiny() {
    let server = RedisServer::start();
    let cache = connect(&server.url()).await;
    let loads = Loads::new();
    cache.set("k", &1_u64, Duration::from_secs(60)).await.unwrap();
    cache.set("k", &2_u64, Duration::ZERO).await.unwrap();
    assert_eq!(get(&cache, "k").await, None, "the older one came back");
    cache.set_many(&[("k", 1_u64), ("l", 1)], Duration::ZERO).await.unwrap();
    for count in 1..=3 {
        let loaded = cache.get_or_load("k", Duration::ZERO, loads.returning(7_u64)).await;
        assert_eq!((*loaded.unwrap(), loads.count()), (7, count));
        assert_eq!(get(&cache, "k").await, None);
    }
    assert_eq!(server.command(&["DBSIZE"]).integer(), 0, "a lease or a value stayed behind");
    for tiny in [Duration::from_nanos(1), Duration::from_micros(1), Duration::from_micros(999)] {
        cache.set("k", &1_u64, tiny).await.unwrap();
        cache_testkit::eventually(|| server.command(&["DBSIZE"]).integer() == 0).await;
        assert_eq!(get(&cache, "k").await, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_02_huge() {
    let server = RedisServer::start();
    let cache = connect(&server.url()).await;
    let year = Duration::from_secs(365 * 86_400);
    for (ttl, expires) in [
        (year * 100, true),
        (year * 1_000, false),
        (Duration::from_secs(u64::MAX / 1_000), false),
        (Duration::from_secs(u64::MAX), false),
        (Duration::MAX, false),
    ] {
        for loaded in [false, true] {
            server.flush();
            if loaded {
                cache.get_or_load("k", ttl, Loads::new().returning(1_u64)).await.unwrap();
            } else {
                cache.set("k", &1_u64, ttl).await.unwrap();
            }
            assert_eq!(get(&cache, "k").await, Some(1), "{ttl:?}");
            assert_eq!(load(&cache, "k", 2).await, 1, "{ttl:?}");
            let left = server.command(&["PTTL", &name("k")]).integer();
            assert_eq!(left > 0, expires, "{ttl:?}: {left}");
            assert!(expires || left == -1, "{ttl:?}: {left}");
        }
    }
    let stale = Policy::ttl(Duration::MAX).stale_for(Duration::MAX);
    cache.set("k", &3_u64, stale).await.unwrap();
    assert_eq!(get(&cache, "k").await, Some(3));
}

/// A clock that goes like the system's, some time before or after it.
fn skewed(ahead: Duration, behind: Duration) -> (Clock, JoinHandle<()>) {
    let manual = ManualClock::at(Clock::system().now() + ahead - behind);
    let clock = manual.clock();
    let ticking = tokio::spawn(async move {
        let mut last = Instant::now();
        loop {
            // Real time is the thing.
            tokio::time::sleep(Duration::from_millis(1)).await;
            let now = Instant::now();
            manual.advance(now - last);
            last = now;
        }
    });
    (clock, ticking)
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_03_clients_whose_clocks_differ_agree() {
    let server = RedisServer::start();
    let (fast, fast_ticks) = skewed(SKEW, Duration::ZERO);
    let (slow, slow_ticks) = skewed(Duration::ZERO, SKEW);
    let mut clients = Vec::new();
    for clock in [fast, slow, Clock::system()] {
        let config = config(&server.url()).clock(clock);
        clients.push(RedisCacheService::connect(config).await.unwrap());
    }
    // Far less than the skew: by its own clock each would find it over, or to last for ever.
    let ttl = Duration::from_millis(700);
    // How late a busy machine may move the clocks.
    let margin = Duration::from_millis(50);
    for writer in &clients {
        let before = Instant::now();
        writer.set("k", &1_u64, ttl).await.unwrap();
        let written = (before, Instant::now());
        let [a, b, c] = &clients[..] else { unreachable!("three") };
        tokio::join!(
            lives_as_long_as(a, written, ttl, margin),
            lives_as_long_as(b, written, ttl, margin),
            lives_as_long_as(c, written, ttl, margin),
        );
    }
    // Over for all, so it is loaded anew; by one, for all.
    for (at, loader) in clients.iter().enumerate() {
        let value = at as u64 + 2;
        loader.invalidate("k").await.unwrap();
        assert_eq!(load(loader, "k", value).await, value);
        for reader in &clients {
            assert_eq!(load(reader, "k", 9).await, value);
        }
    }
    fast_ticks.abort();
    slow_ticks.abort();
}

/// A refresh that goes on when the value is over, for however short it was kept.
#[tokio::test(flavor = "multi_thread")]
async fn p3_a_refresh_that_outlasts_the_value_is_stored_and_the_only_one() {
    let server = RedisServer::start();
    let (a, b) = (connect(&server.url()).await, connect(&server.url()).await);
    let policy = Policy::ttl(Duration::from_millis(50)).stale_for(Duration::from_millis(150));
    a.set("k", &1_u64, &policy).await.unwrap();
    // Once it is no longer fresh to anybody: each knows the server's clock to within a round trip.
    let since = Duration::from_millis(10);
    let is_fresh = |entry: &Entry| entry.is_fresh(b.store().clock().now() - since);
    let found = async || b.store().fetch("k").await.unwrap();
    cache_testkit::eventually_async(async || !found().await.is_some_and(|e| is_fresh(&e))).await;
    let gate = Gate::new();
    let loading = {
        let (a, policy, load) = (a.clone(), Policy::ttl(LASTING), gate.loader(2));
        tokio::spawn(async move { a.get_or_load("k", policy, load).await })
    };
    gate.reached().await;
    cache_testkit::eventually_async(async || found().await.is_none()).await;
    let leased = b.store().lease("k", LASTING).await.unwrap();
    assert!(matches!(leased, LeaseOutcome::Held { .. }), "{leased:?}");
    gate.open();
    assert_eq!(*loading.await.unwrap().unwrap(), 2);
    assert_eq!(get(&b, "k").await, Some(2));
}

/// How long a process may hold a value is known to whoever reads it.
#[tokio::test(flavor = "multi_thread")]
async fn p8_04_local_ttl_is_read_back() {
    let server = RedisServer::start();
    let (writer, reader) = (connect(&server.url()).await, connect(&server.url()).await);
    let bound = Duration::from_secs(5);
    let policy = Policy::ttl(LASTING).stale_for(LASTING).negative_ttl(LASTING).local_ttl(bound);
    writer.set("set", &1_u64, &policy).await.unwrap();
    let load = || async { Ok::<_, std::convert::Infallible>(None::<u64>) };
    writer.get_or_load_opt("absent", &policy, load).await.unwrap();
    writer.set("free", &1_u64, LASTING).await.unwrap();
    for (key, local_ttl) in [("set", Some(bound)), ("absent", Some(bound)), ("free", None)] {
        let one = reader.fetch(key).await.unwrap().unwrap();
        let many = reader.fetch_many(&[key.to_owned()]).await.unwrap().remove(0).unwrap();
        let LeaseOutcome::Fresh(found) = reader.lease(key, bound).await.unwrap() else {
            unreachable!("{key} is fresh");
        };
        for entry in [one, many, found] {
            assert_eq!(entry.local_ttl(), local_ttl, "{key}");
            let now = reader.clock().now();
            assert!(now.until(entry.fresh_until()) > bound, "{key}: only the near tier is bounded");
            let near = entry.settle_local(now, LASTING);
            assert_eq!(now.until(near.fresh_until()) <= bound, local_ttl.is_some(), "{key}");
        }
    }
}
