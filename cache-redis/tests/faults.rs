//! P5, Redis can fail: calls end within their budget, loaders go on answering, all heals by itself.
//!
//! Through the cache; what the connections do on their own is in `connection_faults.rs`.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(clippy::print_stdout, reason = "figures, for whoever asks with --nocapture")]

mod scenario;

use std::time::{Duration, Instant};

use cache_core::{CacheError, CacheServiceExt, CacheStore, ErrorKind};
use cache_redis::{ConnectionState, RedisCacheService};
use cache_testkit::servers::{Direction, FaultProxy, RedisServer};
use cache_testkit::{Gate, Loads, eventually};
use scenario::{
    BUDGET, HEAL, LASTING, SLACK, begin_load, bounded, config, connect, get, load, name, try_load,
};

const PASSWORD: &str = "hunter2secret";

/// Whatever is asked ends in time; what the loader says is the answer.
async fn loaders_answer_for(cache: &RedisCacheService, time: Duration) {
    let (start, mut round, mut worst) = (Instant::now(), 0, Duration::ZERO);
    while round < 3 || start.elapsed() < time {
        let key = format!("down:{round}");
        let call = Instant::now();
        assert_eq!(bounded_load(cache, &key, round).await, round);
        worst = worst.max(call.elapsed());
        let call = Instant::now();
        unavailable(&bounded(cache.get::<u64>(&key)).await.unwrap_err());
        unavailable(&bounded(cache.set(&key, &1_u64, LASTING)).await.unwrap_err());
        unavailable(&bounded(cache.set_many(&[(&*key, 1_u64)], LASTING)).await.unwrap_err());
        unavailable(&bounded(cache.get_many::<u64>(&[&key, "b"])).await.unwrap_err());
        unavailable(&bounded(cache.invalidate(&key)).await.unwrap_err());
        unavailable(&bounded(cache.invalidate_prefix("down:")).await.unwrap_err());
        unavailable(&bounded(cache.clear()).await.unwrap_err());
        worst = worst.max(call.elapsed() / 7);
        let many = Loads::new().many(move |_| Some(round));
        let call = Instant::now();
        let loaded = cache.get_or_load_many(&["m1", "m2", "m3"], LASTING, many).await.unwrap();
        assert!(loaded.iter().all(|slot| slot.as_deref() == Some(&round)));
        assert!(call.elapsed() < BUDGET * 2 + SLACK, "a load took {:?}", call.elapsed());
        round += 1;
    }
    println!("down: {round} rounds in {:?}, worst load {worst:?}", start.elapsed());
}

/// A load asks Redis twice before its loader: for the value, and for the lease.
async fn bounded_load(cache: &RedisCacheService, key: &str, value: u64) -> u64 {
    let start = Instant::now();
    let loaded = load(cache, key, value).await;
    assert!(start.elapsed() < BUDGET * 2 + SLACK, "a load took {:?}", start.elapsed());
    loaded
}

fn unavailable(error: &CacheError) {
    let kind = error.kind();
    assert!(matches!(kind, ErrorKind::Unavailable | ErrorKind::Timeout), "{error}");
    assert!(error.is_retryable(), "{error}");
    assert!(!format!("{error} {error:?}").contains(PASSWORD), "{error:?}");
}

/// Waits until reads succeed, which must be soon, and checks that writes and loads do.
async fn heals(cache: &RedisCacheService) {
    let start = Instant::now();
    while let Err(error) = bounded(cache.get::<u64>("any")).await {
        assert!(start.elapsed() < HEAL, "not healed: {error:?}");
        assert_eq!(bounded_load(cache, "meanwhile", 1).await, 1);
    }
    println!("healed after {:?}", start.elapsed());
    // The first answer may come from the one connection that is open already.
    eventually(|| cache.store().connections().stats().state == ConnectionState::Up).await;
    assert!(start.elapsed() < HEAL, "all connections only after {:?}", start.elapsed());
    works(cache).await;
}

async fn works(cache: &RedisCacheService) {
    cache.invalidate("well").await.unwrap();
    assert_eq!(load(cache, "well", 1).await, 1);
    assert_eq!(get(cache, "well").await, Some(1), "a load was not stored");
    cache.set("well", &2_u64, LASTING).await.unwrap();
    assert_eq!(load(cache, "well", 3).await, 2);
}

/// Held by each test: they bound how long a call takes, and one of them is a load test, which would
/// take the cores from the others.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

#[tokio::test(flavor = "multi_thread")]
async fn p5_01_stopped_before_start() {
    let _alone = ALONE.lock().await;
    let server = RedisServer::builder().password(PASSWORD).start();
    server.stop();
    let start = Instant::now();
    let error = RedisCacheService::connect(config(&server.url())).await.unwrap_err();
    assert!(start.elapsed() < HEAL, "{:?}", start.elapsed());
    unavailable(&error);
    assert!(error.to_string().contains(&server.addr().to_string()), "{error}");

    let cache = RedisCacheService::connect_degraded(config(&server.url())).unwrap();
    assert!(!format!("{cache:?}").contains(PASSWORD));
    loaders_answer_for(&cache, Duration::from_millis(300)).await;
    server.restart();
    heals(&cache).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_01_wrong_password_at_start() {
    let _alone = ALONE.lock().await;
    let server = RedisServer::builder().password("right").start();
    let url = server.url().replace("right", PASSWORD);
    let error = RedisCacheService::connect(config(&url)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    assert!(error.to_string().contains(&server.addr().to_string()), "{error}");
    assert!(!format!("{error} {error:?}").contains(PASSWORD), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_02_stopped_while_running() {
    let _alone = ALONE.lock().await;
    let server = RedisServer::start();
    let cache = connect(&server.url()).await;
    works(&cache).await;
    // One load is out.
    let gate = Gate::new();
    let out = begin_load(&cache, "out", LASTING, &gate, 7).await;
    server.stop();
    gate.open();
    let start = Instant::now();
    assert_eq!(out.await.unwrap(), 7);
    assert!(start.elapsed() < BUDGET + SLACK, "{:?}", start.elapsed());
    loaders_answer_for(&cache, Duration::from_millis(500)).await;
    server.restart();
    heals(&cache).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_02_killed_under_load() {
    let _alone = ALONE.lock().await;
    let server = RedisServer::start();
    let cache = connect(&server.url()).await;
    let end = Instant::now() + Duration::from_secs(3);
    let tasks: Vec<_> = (0..32)
        .map(|task| {
            let cache = cache.clone();
            tokio::spawn(async move {
                let mut round = 0;
                while Instant::now() < end {
                    // One value per key, whoever loads it: another would be a wrong one.
                    let id = (task * 7 + round) % 100;
                    let key = format!("k{id}");
                    assert_eq!(bounded_load(&cache, &key, id).await, id);
                    if round % 10 == 0 {
                        let _ = bounded(cache.invalidate(&key)).await;
                    }
                    round += 1;
                }
                round
            })
        })
        .collect();
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        server.kill();
        tokio::time::sleep(Duration::from_millis(500)).await;
        server.restart();
    }
    let mut rounds = 0;
    for task in tasks {
        rounds += task.await.unwrap();
    }
    println!("{rounds} loads, none failed");
    heals(&cache).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_03_sigstop() {
    let _alone = ALONE.lock().await;
    let server = RedisServer::start();
    let cache = connect(&server.url()).await;
    works(&cache).await;
    let gate = Gate::new();
    let out = begin_load(&cache, "out", LASTING, &gate, 7).await;
    server.pause();
    gate.open();
    let start = Instant::now();
    assert_eq!(out.await.unwrap(), 7);
    assert!(start.elapsed() < BUDGET + SLACK, "{:?}", start.elapsed());
    loaders_answer_for(&cache, Duration::from_secs(2)).await;
    server.resume();
    heals(&cache).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_04_black_hole() {
    let _alone = ALONE.lock().await;
    let server = RedisServer::start();
    let proxy = FaultProxy::start(&server.url());
    let cache = connect(&proxy.url(&server.url())).await;
    works(&cache).await;
    for direction in [Direction::Both, Direction::ToClient] {
        proxy.black_hole(direction);
        // With replies lost, what is asked is done all the same: a lease must not stay behind.
        loaders_answer_for(&cache, Duration::from_secs(1)).await;
        proxy.heal();
        heals(&cache).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_05_latency() {
    let _alone = ALONE.lock().await;
    let server = RedisServer::start();
    let proxy = FaultProxy::start(&server.url());
    let cache = connect(&proxy.url(&server.url())).await;
    works(&cache).await;
    for each_way in [300, 150] {
        proxy.latency(Duration::from_millis(each_way));
        loaders_answer_for(&cache, Duration::from_secs(1)).await;
        proxy.heal();
        heals(&cache).await;
    }
    // Slow, but within the budget.
    proxy.latency(Duration::from_millis(40));
    let start = Instant::now();
    assert_eq!(load(&cache, "slow", 1).await, 1);
    println!("a load at 80 ms a round trip took {:?}", start.elapsed());
    assert_eq!(bounded(cache.get::<u64>("slow")).await.unwrap(), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_06_restarted_empty() {
    let _alone = ALONE.lock().await;
    let server = RedisServer::start();
    let cache = connect(&server.url()).await;
    for round in 0..5 {
        assert_eq!(load(&cache, "k", round).await, round, "an old value");
        assert_eq!(get(&cache, "k").await, Some(round));
        let gate = Gate::new();
        let out = begin_load(&cache, "out", LASTING, &gate, round).await;
        server.restart();
        gate.open();
        assert_eq!(out.await.unwrap(), round);
        // The scripts are gone with the data: nobody notices.
        heals(&cache).await;
        assert_eq!(get(&cache, "k").await, None);
        // Its lease went with the data.
        assert_eq!(get(&cache, "out").await, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_07_restarted_with_old_data() {
    let _alone = ALONE.lock().await;
    let server = RedisServer::builder().persistent().start();
    let cache = connect(&server.url()).await;
    let other = connect(&server.url()).await;
    cache.set("kept", &1_u64, LASTING).await.unwrap();
    cache.set("removed", &1_u64, LASTING).await.unwrap();
    cache.invalidate("removed").await.unwrap();
    let gate = Gate::new();
    let out = begin_load(&cache, "out", LASTING, &gate, 1).await;
    server.stop();
    // Its caller knows that it did not happen.
    unavailable(&bounded(cache.invalidate("kept")).await.unwrap_err());
    server.restart();
    heals(&cache).await;
    heals(&other).await;
    assert_eq!(get(&cache, "removed").await, None);
    // A load that began before is stored only if nothing came between.
    other.set("out", &2_u64, LASTING).await.unwrap();
    gate.open();
    assert_eq!(out.await.unwrap(), 1);
    assert_eq!(get(&cache, "out").await, Some(2));
    cache.invalidate("kept").await.unwrap();
    assert_eq!(get(&cache, "kept").await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_08_password_rotated_and_back() {
    let _alone = ALONE.lock().await;
    let server = RedisServer::builder().password(PASSWORD).start();
    let cache = connect(&server.url()).await;
    works(&cache).await;
    server.set_password("another");
    server.disconnect_clients();
    loaders_answer_for(&cache, Duration::from_secs(1)).await;
    server.set_password(PASSWORD);
    heals(&cache).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_09_maxmemory_reached() {
    let _alone = ALONE.lock().await;
    let server = RedisServer::builder().max_memory(4 << 20, "noeviction").start();
    let cache = connect(&server.url()).await;
    cache.set("before", &1_u64, LASTING).await.unwrap();
    let filler = "x".repeat(16 << 10);
    let mut count = 0;
    let error = loop {
        match bounded(cache.set(&format!("fill:{count}"), &filler, LASTING)).await {
            Ok(()) => count += 1,
            Err(error) => break error,
        }
        assert!(count < 1_000, "never full");
    };
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Backend, true), "{error}");
    assert!(error.to_string().contains("OOM"), "{error}");
    // The limit itself, so that what clients' buffers give back does not make room again.
    server.command(&["CONFIG", "SET", "maxmemory", "1000000"]);
    for round in 0..50 {
        assert_eq!(get(&cache, "before").await, Some(1));
        assert_eq!(load(&cache, "before", 9).await, 1);
        assert_eq!(bounded_load(&cache, "new", round).await, round, "it cannot be stored");
        assert!(bounded(cache.set("set", &1_u64, LASTING)).await.is_err());
        assert!(bounded(cache.set_many(&[("set", 1_u64)], LASTING)).await.is_err());
    }
    let stats = cache.store().connections().stats();
    assert_eq!((stats.state, stats.reconnects), (ConnectionState::Up, 0), "{stats:?}");
    // Removal makes room.
    cache.invalidate("before").await.unwrap();
    cache.invalidate_prefix("fill:").await.unwrap();
    server.command(&["CONFIG", "SET", "maxmemory", "4194304"]);
    works(&cache).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_12_loading() {
    let _alone = ALONE.lock().await;
    let server = RedisServer::builder()
        .persistent()
        .config("loading-process-events-interval-bytes 1024")
        .start();
    let cache = connect(&server.url()).await;
    cache.set("kept", &1_u64, LASTING).await.unwrap();
    server.command(&["DEBUG", "POPULATE", "4000", "filler", "100"]);
    // The append-only file begins with all that is there, and loads slowly.
    server.command(&["CONFIG", "SET", "key-load-delay", "500"]);
    let server = {
        let reload = std::thread::spawn(move || {
            let _ = server.try_command(&["DEBUG", "RELOAD"]);
            server
        });
        // Answered `LOADING` until it is done.
        let start = Instant::now();
        let mut refused = 0;
        while !reload.is_finished() {
            if bounded(try_load(&cache, "meanwhile", 1)).await.is_err() {
                unreachable!("the loader answers");
            }
            if let Err(error) = bounded(cache.get::<u64>("kept")).await {
                unavailable(&error);
                refused += 1;
            }
            assert!(start.elapsed() < Duration::from_secs(20));
        }
        println!("{refused} reads refused in {:?} of loading", start.elapsed());
        assert!(refused > 0, "it was never loading");
        reload.join().unwrap()
    };
    heals(&cache).await;
    assert_eq!(get(&cache, "kept").await, Some(1));
    drop(server);
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_13_readonly() {
    let _alone = ALONE.lock().await;
    let server = RedisServer::start();
    let cache = connect(&server.url()).await;
    cache.set("kept", &1_u64, LASTING).await.unwrap();
    server.command(&["REPLICAOF", "127.0.0.1", "1"]);
    for round in 0..100 {
        assert_eq!(bounded_load(&cache, "new", round).await, round, "it cannot be stored");
        unavailable(&bounded(cache.set("kept", &2_u64, LASTING)).await.unwrap_err());
        unavailable(&bounded(cache.invalidate("kept")).await.unwrap_err());
        assert_eq!(bounded_load(&cache, "kept", 9).await, 1, "reads are still served");
    }
    server.command(&["REPLICAOF", "NO", "ONE"]);
    heals(&cache).await;
    assert_eq!(server.command(&["EXISTS", &name("new")]).integer(), 0, "a lease stayed behind");
    assert!(cache.fetch("new").await.unwrap().is_none());
}
