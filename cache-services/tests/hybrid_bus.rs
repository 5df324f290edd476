//! P2, bounded staleness, and P8, time, through nodes with a near tier over one Redis.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(clippy::print_stdout, reason = "figures, for whoever asks with --nocapture")]

mod nodes;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cache_core::{CacheServiceExt, CacheStore, Clock, ManualClock, Policy};
use cache_testkit::{Direction, FaultProxy, Gate, RedisServer, eventually, eventually_async};
use nodes::{LASTING, Node, Parts, config, name, patient, publish, told};
use tokio::task::JoinHandle;

/// P2: heartbeat interval and timeout are 1.5 s, and the promise is 2 s.
const BOUND: Duration = Duration::from_secs(2);
const SKEW: Duration = Duration::from_secs(5);

async fn pair(server: &RedisServer) -> (Node, Node) {
    (Node::start(&server.url()).await, Node::start(&server.url()).await)
}

/// A user who may do everything but subscribe, while `on` is false: Redis closes the subscription
/// of one who may no longer, and leaves all else alone.
fn may_subscribe(server: &RedisServer, on: bool) {
    let channels = if on { "allchannels" } else { "resetchannels" };
    server.command(&["ACL", "SETUSER", "node", "on", ">pw", "~*", "+@all", channels]);
}

/// A node whose right to subscribe can be taken away.
async fn deafenable(server: &RedisServer) -> Node {
    let url = server.url().replace("redis://", "redis://node:pw@");
    Node::of(patient(&url), Parts::default(), |tiers| tiers.far_timeout(LASTING)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_01_set_on_one_node_is_seen_by_the_other() {
    let server = RedisServer::start();
    let (a, b) = pair(&server).await;
    for value in 0..200 {
        let (writer, reader) = if value % 3 == 0 { (&b, &a) } else { (&a, &b) };
        match value % 2 {
            0 => writer.set("k", value).await,
            _ => writer.cache.set_many(&[("k", value), ("l", value)], LASTING).await.unwrap(),
        }
        let seen =
            async || reader.get("k").await == Some(value) && reader.holds("k") == Some(value);
        eventually_async(seen).await;
        assert_eq!(writer.get("k").await, Some(value));
    }
}

/// Over one connection a change and its message are one call; else either may fail by itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_tells_over_the_bus_of_its_own_connections() {
    let server = RedisServer::start();
    let (a, b) = pair(&server).await;
    assert!(a.far.tells_with(&a.bus) && b.far.tells_with(&b.bus));
    assert!(!a.far.tells_with(&b.bus));
    let service = Node::of(config(&server.url()), Parts::default(), |tiers| tiers).await;
    assert_eq!(service.far.call_timeout(), Some(Duration::from_millis(250)));
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_02_own_messages_are_not_heard() {
    let server = RedisServer::start();
    let (a, b) = pair(&server).await;
    for value in 0..50 {
        let own = a.bus.stats().own;
        a.set("k", value).await;
        eventually(|| a.bus.stats().own > own).await;
        told(&server, &[&a, &b]).await;
        assert_eq!(a.holds("k"), Some(value), "its own write made it drop what it wrote");
    }
    assert_eq!(a.stats().far_reads, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_03_subscription_killed_and_a_remote_set() {
    let server = RedisServer::start();
    let (a, b) = pair(&server).await;
    for round in 1..=20 {
        a.set("k", round).await;
        eventually_async(async || b.get("k").await == Some(round)).await;
        let reconnects = b.bus.stats().reconnects;
        server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        a.set("k", round + 1_000).await;
        eventually(|| b.bus.stats().reconnects > reconnects && b.serves()).await;
        assert_eq!(b.get("k").await, Some(round + 1_000), "round {round}: an old value after it");
        // `a` has lost its own subscription just so.
        eventually(|| a.serves()).await;
        assert_eq!(a.get("k").await, Some(round + 1_000));
    }
}

/// Down for as long as the test wants.
#[tokio::test(flavor = "multi_thread")]
async fn p2_03_what_was_missed_is_not_served_after() {
    let server = RedisServer::start();
    may_subscribe(&server, true);
    let a = Node::start(&server.url()).await;
    let b = deafenable(&server).await.in_service().await;
    for round in 0..3 {
        a.set("k", round).await;
        a.set("gone", round).await;
        told(&server, &[&a, &b]).await;
        assert_eq!((b.get("k").await, b.get("gone").await), (Some(round), Some(round)));
        let gate = Gate::new();
        let old = b.begin_load("loading", LASTING, &gate, 1).await;
        may_subscribe(&server, false);
        eventually(|| !b.serves()).await;
        a.set("k", 100 + round).await;
        a.cache.invalidate_many(&["gone", "loading"]).await.unwrap();
        assert_eq!(b.holds("k"), Some(round), "else there is nothing to test");
        assert_eq!(b.get("k").await, Some(100 + round), "the near tier is bypassed");
        assert_eq!(b.load("k", 9).await, 100 + round);
        assert_eq!(b.get("gone").await, None);
        may_subscribe(&server, true);
        eventually(|| b.serves()).await;
        assert_eq!((b.holds("k"), b.holds("gone")), (None, None), "emptied before it is served");
        assert_eq!(b.load("loading", 2).await, 2, "it joined a load from before");
        gate.open();
        assert_eq!(old.await.unwrap(), 1);
        assert_eq!((b.get("loading").await, a.get("loading").await), (Some(2), Some(2)));
        assert_eq!(b.get("k").await, Some(100 + round));
        assert_eq!(b.holds("k"), Some(100 + round));
        a.cache.invalidate("loading").await.unwrap();
        told(&server, &[&a, &b]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_04_black_holed_subscriber() {
    let server = RedisServer::start();
    let proxy = FaultProxy::start(&server.url());
    let a = Node::start(&server.url()).await;
    let at = config(&proxy.url(&server.url()));
    let b = Node::of(at, Parts::default(), |tiers| tiers).await.in_service().await;
    for (round, way) in [(1, Direction::ToClient), (2, Direction::ToServer), (3, Direction::Both)] {
        a.set("k", round).await;
        eventually_async(async || b.cache.get("k").await.ok() == Some(Some(round))).await;
        proxy.black_hole(way);
        let since = Instant::now();
        a.set("k", 10 + round).await;
        let mut last = since;
        // As long as it is served from memory, which the loss of the bus ends.
        while let Ok(found) = b.cache.get::<u64>("k").await {
            assert!(found == Some(round), "{found:?} cannot have come through");
            last = Instant::now();
            tokio::task::yield_now().await;
        }
        println!("{way:?}: bypassed after {:?}", last - since);
        assert!(last - since < BOUND, "an old value was served for {:?}", last - since);
        proxy.heal();
        let healed = Instant::now();
        eventually_async(async || match b.cache.get::<u64>("k").await {
            Ok(found) => {
                assert_eq!(found, Some(10 + round), "an old value after the loss");
                b.serves() && b.holds("k").is_some()
            }
            Err(_) => false,
        })
        .await;
        println!("{way:?}: healed after {:?}", healed.elapsed());
        assert!(healed.elapsed() < BOUND, "healed after {:?}", healed.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_05_nothing_is_kept_before_the_subscription_is_confirmed() {
    let server = RedisServer::start();
    may_subscribe(&server, false);
    let a = Node::start(&server.url()).await;
    a.set("k", 1).await;
    let b = deafenable(&server).await;
    eventually(|| b.bus.stats().last_fault.is_some()).await;
    assert_eq!(b.get("k").await, Some(1));
    assert_eq!(b.cache.get_many::<u64>(&["k"]).await.unwrap(), [Some(1)]);
    assert_eq!(b.load("k", 9).await, 1);
    assert_eq!(b.load("new", 1).await, 1);
    // It may not publish either: the write fails, or is told later.
    let _ = b.cache.set("own", &1_u64, LASTING).await;
    assert_eq!((b.holds("k"), b.holds("new"), b.holds("own")), (None, None, None));
    may_subscribe(&server, true);
    eventually(|| b.serves()).await;
    assert_eq!(b.get("k").await, Some(1));
    assert_eq!(b.holds("k"), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_06_a_storm_of_writes_is_not_a_storm_of_reads() {
    const NODES: u64 = 10;
    let server = RedisServer::start();
    let writer = Arc::new(Node::start(&server.url()).await);
    let done = Arc::new(AtomicBool::new(false));
    writer.set("k", 0).await;
    let mut readers = Vec::new();
    for _ in 0..NODES {
        let node = Node::start(&server.url()).await;
        assert_eq!(node.get("k").await, Some(0));
        readers.push(node);
    }
    server.reset_commandstats();
    let (before, start) = (writer.bus.stats().published, Instant::now());
    let readers = readers.into_iter().map(|node| {
        let done = Arc::clone(&done);
        tokio::spawn(async move {
            while !done.load(Ordering::Relaxed) {
                node.get("k").await;
                tokio::task::yield_now().await;
            }
            node
        })
    });
    let readers: Vec<_> = readers.collect();
    let writers = (0..20).map(|number| {
        let writer = Arc::clone(&writer);
        tokio::spawn(async move {
            for value in 0..50 {
                writer.cache.set("k", &(number * 50 + value), LASTING).await.unwrap();
            }
        })
    });
    for writing in writers.collect::<Vec<_>>() {
        writing.await.unwrap();
    }
    let last = writer.far.fetch("k").await.unwrap().unwrap().decode::<u64>().unwrap();
    let (mut nodes, mut reads) = (Vec::new(), 1);
    done.store(true, Ordering::Relaxed);
    for reading in readers {
        nodes.push(reading.await.unwrap());
    }
    for node in nodes.iter().chain([&*writer]) {
        // The last writes are told a moment later.
        eventually_async(async || node.get("k").await == Some(last)).await;
        reads += 1;
    }
    let took = start.elapsed();
    let told = writer.bus.stats().published - before;
    assert!(u128::from(told) <= took.as_millis() + 2, "{told} messages in {took:?}");
    // Each message empties each node once, and each is read again once, at most.
    reads += NODES * (told + 1);
    let gets = server.commandstats()["get"];
    println!("1,000 sets in {took:?}: {told} messages, {gets} far reads by {NODES} nodes");
    assert!(gets <= reads, "{gets} far reads by {NODES} nodes for {told} messages");
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_07_message_in_the_bare_form_is_honoured() {
    let server = RedisServer::start();
    let (a, b) = pair(&server).await;
    a.set("org:acme", 1).await;
    a.set("org:other", 1).await;
    told(&server, &[&a, &b]).await;
    for node in [&a, &b] {
        assert_eq!((node.get("org:acme").await, node.get("org:other").await), (Some(1), Some(1)));
    }
    server.command(&["SET", &name("org:acme"), "2"]);
    server.command(&["PUBLISH", "cache:invalidate", "org:acme"]);
    for node in [&a, &b] {
        eventually(|| node.holds("org:acme") != Some(1)).await;
        assert_eq!(node.get("org:acme").await, Some(2));
        assert_eq!(node.holds("org:other"), Some(1), "it was not named");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_08_unknown_message_version_is_ignored_and_counted() {
    let server = RedisServer::start();
    let (a, b) = pair(&server).await;
    a.set("k", 1).await;
    told(&server, &[&a, &b]).await;
    assert_eq!(b.get("k").await, Some(1));
    for (count, message) in [
        r#"{"v":99,"from":"00000000000000aa","removed":{"keys":["k"]}}"#,
        r#"{"v":1,"from":"00000000000000aa","moved":{"keys":["k"]}}"#,
        r#"{"v":1,"from":"00000000000000aa","removed":{"tags":["k"]}}"#,
        r#"{"v":"#,
    ]
    .iter()
    .enumerate()
    {
        publish(&server, message);
        eventually(|| b.bus.stats().unreadable == count as u64 + 1).await;
        told(&server, &[&a, &b]).await;
        assert_eq!((a.holds("k"), b.holds("k")), (Some(1), Some(1)), "{message}");
        assert_eq!(b.stats().bus_losses, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_01_local_ttl_bounds_what_was_read_from_redis() {
    let server = RedisServer::start();
    let (a, b) = pair(&server).await;
    let bound = Duration::from_millis(100);
    let policy = Policy::ttl(LASTING).local_ttl(bound);
    a.cache.set("set", &1_u64, &policy).await.unwrap();
    assert_eq!(*a.try_load("loaded", &policy, 1).await.unwrap(), 1);
    for key in ["set", "loaded"] {
        for node in [&a, &b] {
            assert_eq!(node.get(key).await, Some(1));
            let held = node.near.peek(key);
            let until = held.map_or(Clock::system().now(), |entry| entry.fresh_until());
            assert!(Clock::system().now().until(until) <= bound, "{key} is held for longer");
            let reads = node.stats().far_reads;
            // Gone from memory when its time is over, and only from there.
            eventually_async(async || {
                assert_eq!(node.get(key).await, Some(1));
                node.stats().far_reads > reads
            })
            .await;
        }
    }
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
async fn p8_03_nodes_whose_clocks_differ_agree() {
    let server = RedisServer::start();
    let (fast, fast_ticks) = skewed(SKEW, Duration::ZERO);
    let (slow, slow_ticks) = skewed(Duration::ZERO, SKEW);
    let nodes = [
        Node::on(&server.url(), fast).await,
        Node::on(&server.url(), slow).await,
        Node::start(&server.url()).await,
    ];
    // Far less than the skew: by its own clock each would find it over, or to last for ever.
    let ttl = Duration::from_secs(1);
    // How late a busy machine may move the clocks.
    let margin = Duration::from_millis(250);
    for writer in &nodes {
        told(&server, &nodes.each_ref()).await;
        let before = Instant::now();
        writer.cache.set("k", &1_u64, ttl).await.unwrap();
        let after = Instant::now();
        let lives = async |node: &Node| {
            // Told a moment later, perhaps.
            eventually_async(async || node.get("k").await == Some(1)).await;
            let mut begun = Instant::now();
            while node.get("k").await.is_some() {
                let lived = begun.saturating_duration_since(after);
                assert!(lived <= ttl + margin, "there after {lived:?}");
                tokio::task::yield_now().await;
                begun = Instant::now();
            }
            let lived = before.elapsed();
            assert!(lived + margin >= ttl, "gone after {lived:?}");
        };
        tokio::join!(lives(&nodes[0]), lives(&nodes[1]), lives(&nodes[2]));
    }
    fast_ticks.abort();
    slow_ticks.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_04_the_near_tier_holds_nothing_longer_than_redis() {
    let server = RedisServer::start();
    let (a, b) = pair(&server).await;
    let ttl = Duration::from_millis(1_000);
    // What the nodes cannot know of the server's clock, and what is left of a millisecond.
    let margin = Duration::from_millis(5);
    for (round, key) in ["set", "many", "loaded"].into_iter().enumerate() {
        match round {
            0 => a.cache.set(key, &1_u64, ttl).await.unwrap(),
            1 => a.cache.set_many(&[(key, 1_u64)], ttl).await.unwrap(),
            _ => drop(a.try_load(key, ttl, 1).await.unwrap()),
        }
        eventually(|| server.command(&["PTTL", &name(key)]).integer() < 900).await;
        assert_eq!(b.get(key).await, Some(1));
        for node in [&a, &b] {
            let Some(held) = node.near.peek(key) else { continue };
            let left = server.command(&["PTTL", &name(key)]).integer();
            let near = Clock::system().now().until(held.servable_until());
            let far = Duration::from_millis(u64::try_from(left.max(0)).unwrap());
            assert!(near <= far + margin, "{key}: {near:?} here, {far:?} there");
        }
        eventually(|| server.command(&["EXISTS", &name(key)]).integer() == 0).await;
        // As far as a busy machine knows the server's clock.
        tokio::time::sleep(margin * 4).await;
        assert_eq!((a.get(key).await, b.get(key).await), (None, None), "{key}: served after it");
    }
}
