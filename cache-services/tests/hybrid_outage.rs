//! P5, Redis can fail, through two nodes with a near tier and 200 tasks under way: every call ends
//! within its bound, loaders answer, no value is wrong, and all heals by itself.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(clippy::print_stdout, reason = "figures, for whoever asks with --nocapture")]

mod load;
mod nodes;

use std::time::{Duration, Instant};

use cache_core::{CacheServiceExt, CacheStore, Entry};
use cache_testkit::{Direction, FaultProxy, RedisServer, drop_after, eventually, eventually_async};
use load::{HEAL, Load};
use nodes::{LASTING, Node, Parts, config};

/// How long what is wrong stays so: longer than it takes to notice that the bus is gone.
const OUTAGE: Duration = Duration::from_secs(2);
const PASSWORD: &str = "hunter2secret";

/// Held by each test: they bound how long a call takes, and each has 200 tasks that would take the
/// cores from the others.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

#[tokio::test(flavor = "multi_thread")]
async fn p5_02_stopped_while_running() {
    let _alone = ALONE.lock().await;
    let server = RedisServer::start();
    let load = Load::start(config(&server.url())).await;
    server.stop();
    load.goes_on(OUTAGE).await;
    server.restart();
    load.heals("stop").await;
    load.ends("stop").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_02_killed_and_restarted_again_and_again() {
    let _alone = ALONE.lock().await;
    let server = RedisServer::start();
    let load = Load::start(config(&server.url())).await;
    for down in [0, 50, 300, 1_000] {
        server.kill();
        load.goes_on(Duration::from_millis(down)).await;
        server.restart();
        load.heals("kill").await;
    }
    load.ends("kill").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_03_sigstop() {
    let _alone = ALONE.lock().await;
    let server = RedisServer::start();
    let load = Load::start(config(&server.url())).await;
    for halted in [Duration::from_millis(400), OUTAGE] {
        server.pause();
        load.goes_on(halted).await;
        server.resume();
        load.heals("SIGSTOP").await;
    }
    load.ends("SIGSTOP").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_04_black_hole() {
    let _alone = ALONE.lock().await;
    let server = RedisServer::start();
    let proxy = FaultProxy::start(&server.url());
    let load = Load::start(config(&proxy.url(&server.url()))).await;
    for way in [Direction::Both, Direction::ToClient, Direction::ToServer] {
        proxy.black_hole(way);
        load.goes_on(OUTAGE).await;
        proxy.heal();
        load.heals("black hole").await;
    }
    load.ends("black hole").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_05_latency() {
    let _alone = ALONE.lock().await;
    let server = RedisServer::start();
    let proxy = FaultProxy::start(&server.url());
    let load = Load::start(config(&proxy.url(&server.url()))).await;
    for each_way in [300, 150] {
        proxy.latency(Duration::from_millis(each_way));
        load.goes_on(OUTAGE).await;
        proxy.heal();
        load.heals("latency").await;
    }
    load.ends("latency").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_06_restarted_empty() {
    let _alone = ALONE.lock().await;
    let server = RedisServer::start();
    let load = Load::start(config(&server.url())).await;
    for _ in 0..3 {
        load.a.set("kept", 1).await;
        eventually_async(async || load.b.cache.get("kept").await.ok() == Some(Some(1))).await;
        server.restart();
        load.heals("restart").await;
        // Memory that outlives Redis would not hear of removals made meanwhile.
        assert_eq!((load.a.get("kept").await, load.b.get("kept").await), (None, None));
    }
    load.ends("restart").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_07_restarted_with_old_data() {
    let _alone = ALONE.lock().await;
    let server = RedisServer::builder().persistent().start();
    let load = Load::start(config(&server.url())).await;
    for _ in 0..2 {
        let (a, b) = (&load.a, &load.b);
        for key in ["kept", "org:1", "org:2"] {
            a.set(key, 1).await;
            eventually_async(async || b.cache.get(key).await.ok() == Some(Some(1))).await;
        }
        server.stop();
        // Its caller knows that it did not happen.
        assert!(a.cache.invalidate("kept").await.is_err());
        assert!(a.cache.invalidate_prefix("org:").await.is_err());
        load.goes_on(Duration::from_millis(300)).await;
        let start = Instant::now();
        let mut healed = 0;
        std::thread::scope(|scope| {
            // Meanwhile the tasks go on: this thread is one of the runtime's.
            scope.spawn(|| server.restart());
        });
        while healed < 20 {
            for key in ["kept", "org:1", "org:2"] {
                // Replay wins: where it failed nobody reads the old value any more.
                match a.cache.get::<u64>(key).await {
                    Ok(found) => {
                        assert_eq!(found, None, "{key}: the old value after its invalidation");
                        healed += 1;
                    }
                    Err(_) => assert!(start.elapsed() < HEAL * 2, "not healed"),
                }
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        load.heals("old data").await;
        for key in ["kept", "org:1", "org:2"] {
            assert_eq!((a.get(key).await, b.get(key).await), (None, None), "{key}");
        }
    }
    load.ends("old data").await;
}

/// Much is owed when Redis is back: nobody who calls pays for it with more than a budget.
#[tokio::test(flavor = "multi_thread")]
async fn p5_07_a_long_replay_holds_up_no_call() {
    let _alone = ALONE.lock().await;
    let server = RedisServer::start();
    let proxy = FaultProxy::start(&server.url());
    // To look through all of it takes a while, over a network with a round trip of 20 ms.
    server.command(&["DEBUG", "POPULATE", "200000", "cache:other", "10"]);
    let at = config(&proxy.url(&server.url()));
    let node = Node::of(at, Parts::default(), |tiers| tiers).await.in_service().await;
    node.set("org:1", 1).await;
    proxy.latency(Duration::from_millis(10));
    // Given up half-way, it is owed, and the next attempt is that of whoever asks next.
    assert!(drop_after(1, node.cache.invalidate_prefix("org:")).await.is_none());
    let (start, mut worst) = (Instant::now(), Duration::ZERO);
    loop {
        let call = Instant::now();
        let found = node.cache.get::<u64>("org:1").await;
        worst = worst.max(call.elapsed());
        match found {
            Ok(found) => break assert_eq!(found, None, "the old value after its invalidation"),
            Err(_) => assert!(start.elapsed() < Duration::from_secs(60), "not healed"),
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    println!("replayed after {:?}, the worst read took {worst:?}", start.elapsed());
    eventually(|| node.stats().replays_pending == 0).await;
    assert!(worst < load::CALL, "a read took {worst:?}");
}

/// What others remove meanwhile is heard meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn p2_a_long_replay_keeps_nobody_from_listening() {
    let _alone = ALONE.lock().await;
    let server = RedisServer::start();
    let proxy = FaultProxy::start(&server.url());
    server.command(&["DEBUG", "POPULATE", "200000", "cache:other", "10"]);
    let at = config(&proxy.url(&server.url()));
    let node = Node::of(at, Parts::default(), |tiers| tiers).await.in_service().await;
    let other = Node::start(&server.url()).await;
    node.set("k", 0).await;
    proxy.latency(Duration::from_millis(10));
    assert!(drop_after(1, node.cache.invalidate_prefix("org:")).await.is_none());
    let (start, mut worst) = (Instant::now(), Duration::ZERO);
    // Nobody asks for what is not in memory: it is replayed in the background.
    while node.stats().replays_pending > 0 {
        assert!(start.elapsed() < Duration::from_secs(60), "it is never replayed");
        node.near.store("k", Entry::encode(&1_u64, &LASTING.into()).unwrap()).await.unwrap();
        let told = Instant::now();
        other.cache.invalidate("k").await.unwrap();
        eventually(|| node.holds("k").is_none()).await;
        worst = worst.max(told.elapsed());
    }
    println!("replayed after {:?}, the worst removal was heard in {worst:?}", start.elapsed());
    assert!(start.elapsed() > Duration::from_secs(1), "else there is nothing to test");
    assert!(worst < Duration::from_secs(1), "a removal was heard after {worst:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_08_password_rotated_and_back() {
    let _alone = ALONE.lock().await;
    let server = RedisServer::builder().password(PASSWORD).start();
    let load = Load::start(config(&server.url())).await;
    server.set_password("another");
    server.disconnect_clients();
    load.goes_on(OUTAGE).await;
    server.set_password(PASSWORD);
    load.heals("password").await;
    load.ends("password").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_09_maxmemory_reached() {
    let _alone = ALONE.lock().await;
    let server = RedisServer::builder().max_memory(64 << 20, "noeviction").start();
    let load = Load::start(config(&server.url())).await;
    load.a.set("before", 1).await;
    server.command(&["CONFIG", "SET", "maxmemory", "1000000"]);
    load.goes_on(Duration::from_millis(300)).await;
    for node in [&load.a, &load.b] {
        // Reads and removals are answered, but while one of the refusals of the load is dealt with.
        eventually_async(async || node.cache.get("before").await.is_ok_and(|got| got == Some(1)))
            .await;
        assert!(node.serves());
        // After each refusal the key is to have no value: others find Redis unavailable until then.
        eventually_async(async || {
            let refused = node.cache.set("set", &1_u64, LASTING).await.unwrap_err();
            refused.to_string().contains("OOM")
        })
        .await;
        node.cache.invalidate("set").await.unwrap();
    }
    load.goes_on(OUTAGE).await;
    server.command(&["CONFIG", "SET", "maxmemory", "67108864"]);
    load.heals("maxmemory").await;
    load.ends("maxmemory").await;
}
