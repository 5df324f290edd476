//! P1, no stale fill, through nodes with a near tier over one Redis; P3 08 in one process; and
//! other clients that write to the same Redis. What the bus promises is in `hybrid_bus.rs`.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod nodes;

use std::sync::Arc;
use std::time::Duration;

use cache_core::{CacheServiceExt, CacheStore, ManualClock, Policy};
use cache_testkit::{
    FlakyCache, Gate, LoadFailed, Loads, Operation, RedisServer, drop_after, eventually,
    eventually_async,
};
use nodes::{LASTING, Node, Parts, name, patient, publish, told};

struct Two {
    server: RedisServer,
    a: Node,
    b: Node,
}

impl Two {
    async fn start() -> Self {
        let server = RedisServer::start();
        let (a, b) = (Node::start(&server.url()).await, Node::start(&server.url()).await);
        Self { server, a, b }
    }

    /// What a read on either finds, all having been told; they agree with each other, and what
    /// they hold in process agrees with that.
    async fn found(&self, key: &str) -> Option<u64> {
        told(&self.server, &[&self.a, &self.b]).await;
        let found = self.a.get(key).await;
        assert_eq!(self.b.get(key).await, found, "the nodes disagree on {key}");
        for node in [&self.a, &self.b] {
            // Nothing, if a write from just before is told just now.
            let held = node.holds(key);
            assert!(held.is_none() || held == found, "{held:?} is held of {key}, not {found:?}");
        }
        found
    }

    /// Stale now, servable for long.
    async fn put_stale(&self, key: &str) {
        let policy = Policy::ttl(Duration::from_millis(1)).stale_for(LASTING);
        self.a.cache.set(key, &9_u64, policy).await.unwrap();
        // Their clocks differ by what they cannot know of the server's: a round trip at most.
        eventually_async(async || self.a.get(key).await.is_none()).await;
        eventually_async(async || self.b.get(key).await.is_none()).await;
        assert_eq!(self.a.holds(key), Some(9), "{key} is stale and there");
    }
}

/// What `invalidate` leaves of a load that was under way on `loader`; `other` is the other node.
async fn nothing_old_is_left(
    two: &Two,
    (loader, other): (&Node, &Node),
    key: &'static str,
    invalidate: impl AsyncFn(&Two, &'static str),
) {
    // Nobody asks before the old load has ended.
    let gate = Gate::new();
    let old = loader.begin_load(key, LASTING, &gate, 1).await;
    invalidate(two, key).await;
    assert_eq!(two.found(key).await, None);
    let refused = loader.cache.stats().fills_refused;
    gate.open();
    assert_eq!(old.await.unwrap(), 1, "who had waited gets what was loaded");
    assert_eq!(loader.cache.stats().fills_refused, refused + 1, "the fill was not refused");
    assert_eq!(two.found(key).await, None, "the old value was stored");
    assert_eq!(other.load(key, 2).await, 2, "the next caller got the old value");
    assert_eq!(loader.load(key, 3).await, 2);
    assert_eq!(two.found(key).await, Some(2));

    // The next callers, on both nodes, come while the old load is still out.
    invalidate(two, key).await;
    told(&two.server, &[&two.a, &two.b]).await;
    let gate = Gate::new();
    let old = loader.begin_load(key, LASTING, &gate, 3).await;
    invalidate(two, key).await;
    told(&two.server, &[&two.a, &two.b]).await;
    assert_eq!(loader.load(key, 4).await, 4, "it joined the load from before");
    assert_eq!(other.load(key, 5).await, 4);
    gate.open();
    assert_eq!(old.await.unwrap(), 3);
    assert_eq!(two.found(key).await, Some(4), "the old load overwrote the newer value");
}

/// Over an absent key and over a stale value, loaded where it is invalidated (on `a`, or by hand)
/// and on the other node.
async fn in_every_way(invalidate: impl AsyncFn(&Two, &'static str)) {
    let two = Two::start().await;
    for (loader, other) in [(&two.a, &two.b), (&two.b, &two.a)] {
        two.a.cache.clear().await.unwrap();
        told(&two.server, &[&two.a, &two.b]).await;
        nothing_old_is_left(&two, (loader, other), "org:absent", &invalidate).await;
        two.put_stale("org:stale").await;
        nothing_old_is_left(&two, (loader, other), "org:stale", &invalidate).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_01_and_05_key_removed_while_loading_here_or_elsewhere() {
    in_every_way(async |two, key| two.a.cache.invalidate(key).await.unwrap()).await;
    in_every_way(async |two, key| two.a.cache.invalidate_many(&["x", key]).await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_02_key_overwritten_while_loading() {
    let two = Two::start().await;
    for (loader, writer) in [(&two.a, &two.a), (&two.a, &two.b)] {
        for many in [false, true] {
            two.a.cache.clear().await.unwrap();
            told(&two.server, &[&two.a, &two.b]).await;
            let gate = Gate::new();
            let old = loader.begin_load("k", LASTING, &gate, 1).await;
            match many {
                false => writer.set("k", 2).await,
                true => {
                    writer.cache.set_many(&[("k", 2_u64), ("l", 2)], LASTING).await.unwrap();
                }
            }
            assert_eq!(writer.get("k").await, Some(2));
            gate.open();
            assert_eq!(old.await.unwrap(), 1);
            // Writes that follow closely are told a moment later.
            eventually_async(async || loader.get("k").await == Some(2)).await;
            assert_eq!(two.found("k").await, Some(2), "the load overwrote the write");
            assert_eq!(loader.load("k", 3).await, 2);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_03_prefix_removed_while_loading() {
    in_every_way(async |two, _| two.a.cache.invalidate_prefix("org:").await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_04_cleared_while_loading() {
    in_every_way(async |two, _| two.a.cache.clear().await.unwrap()).await;
}

/// By hand: Redis knows at once, the nodes' memories when they are told.
#[tokio::test(flavor = "multi_thread")]
async fn p1_06_del_typed_into_redis_while_loading() {
    in_every_way(async |two, key| {
        two.server.command(&["DEL", &name(key)]);
        publish(&two.server, key);
    })
    .await;
    in_every_way(async |two, key| {
        two.server.flush();
        publish(&two.server, key);
    })
    .await;
}

/// The promise ends where nobody tells: what a node holds lives on, what is loaded is not stored.
#[tokio::test(flavor = "multi_thread")]
async fn p1_06_del_typed_into_redis_and_nobody_told() {
    let two = Two::start().await;
    let gate = Gate::new();
    let old = two.a.begin_load("k", LASTING, &gate, 1).await;
    two.server.command(&["DEL", &name("k")]);
    gate.open();
    assert_eq!(old.await.unwrap(), 1);
    assert_eq!(two.found("k").await, None, "the old value was stored");

    two.a.set("k", 2).await;
    told(&two.server, &[&two.a, &two.b]).await;
    assert_eq!(two.b.get("k").await, Some(2));
    two.server.command(&["DEL", &name("k")]);
    assert_eq!((two.a.get("k").await, two.b.get("k").await), (Some(2), Some(2)));
    publish(&two.server, "k");
    assert_eq!(two.found("k").await, None);
}

/// What a read of Redis has found and not yet kept when the key goes.
#[tokio::test(flavor = "multi_thread")]
async fn p1_07_and_14_removed_between_far_read_and_near_store() {
    let server = RedisServer::start();
    let remover = Node::start(&server.url()).await;
    let (tell_faults, faults) = std::sync::mpsc::channel();
    let parts = Parts {
        far: Box::new(move |far| {
            let far = FlakyCache::remote(far);
            tell_faults.send(far.faults()).unwrap();
            Arc::new(far)
        }),
        ..Parts::default()
    };
    let reader = Node::of(patient(&server.url()), parts, |tiers| tiers.far_timeout(LASTING));
    let reader = reader.await.in_service().await;
    let faults = faults.recv().unwrap();
    for round in 0..4_u64 {
        for here in [true, false] {
            remover.set("org:k", round).await;
            // A write that follows another closely is told a moment later.
            eventually(|| reader.holds("org:k").is_none()).await;
            let gate = faults.when(Operation::is_read).after().once().hold();
            let read = tokio::spawn({
                let cache = reader.cache.clone();
                async move { cache.get::<u64>("org:k").await.unwrap() }
            });
            gate.reached().await;
            let on = if here { &reader } else { &remover };
            let published = on.bus.stats().published;
            match round {
                0 => on.cache.invalidate("org:k").await.unwrap(),
                1 => on.cache.invalidate_prefix("org:").await.unwrap(),
                2 => on.cache.clear().await.unwrap(),
                _ => on.set("org:k", 99).await,
            }
            eventually(|| on.bus.stats().published > published).await;
            told(&server, &[&reader, &remover]).await;
            gate.open();
            assert_eq!(read.await.unwrap(), Some(round), "it began before");
            let left = (round == 3).then_some(99);
            assert_ne!(reader.holds("org:k"), Some(round), "round {round}: the old value was kept");
            assert_eq!(reader.get("org:k").await, left);
            faults.heal();
        }
    }
}

/// The one whose clock stands still does not notice; the server's does not.
#[tokio::test(flavor = "multi_thread")]
async fn p1_10_lease_ran_out_before_the_fill() {
    let server = RedisServer::start();
    let slow = Node::on(&server.url(), &ManualClock::new()).await;
    let other = Node::start(&server.url()).await;
    let policy = Policy::ttl(LASTING).load_timeout(Duration::from_millis(100));

    // Another takes over.
    let gate = Gate::new();
    let old = slow.begin_load("taken", &policy, &gate, 1).await;
    assert_eq!(other.load("taken", 2).await, 2, "the lease never ran out");
    gate.open();
    assert_eq!(old.await.unwrap(), 1);
    assert_eq!(slow.holds("taken"), None, "kept although it was not stored");
    assert_eq!((slow.get("taken").await, other.get("taken").await), (Some(2), Some(2)));

    // Nobody does.
    let gate = Gate::new();
    let old = slow.begin_load("left", &policy, &gate, 1).await;
    eventually_async(async || server.command(&["EXISTS", &name("left")]).integer() == 0).await;
    gate.open();
    assert_eq!(old.await.unwrap(), 1);
    assert_eq!(slow.holds("left"), None, "kept although it was not stored");
    assert_eq!((slow.get("left").await, other.get("left").await), (None, None));
    assert_eq!(slow.cache.stats().fills_refused, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_11_absent_key_removed_while_loading() {
    let two = Two::start().await;
    for (loader, remover) in [(&two.a, &two.a), (&two.a, &two.b)] {
        let (gate, cache) = (Gate::new(), loader.cache.clone());
        let absent = gate.loader(None::<u64>);
        let old = tokio::spawn(async move { cache.get_or_load_opt("none", LASTING, absent).await });
        gate.reached().await;
        remover.cache.invalidate("none").await.unwrap();
        assert_eq!(two.server.command(&["DBSIZE"]).integer(), 0, "the lease is still there");
        told(&two.server, &[&two.a, &two.b]).await;
        gate.open();
        assert_eq!(old.await.unwrap().unwrap(), None);
        assert!(loader.near.peek("none").is_none(), "the old absence was kept");
        assert!(loader.cache.fetch("none").await.unwrap().is_none(), "the old absence was stored");
        assert_eq!(loader.load("none", 2).await, 2);
        remover.cache.invalidate("none").await.unwrap();
        told(&two.server, &[&two.a, &two.b]).await;
    }
}

/// The waiter's clock stands still, so that no timer of its ends the wait: what the bus says does.
#[tokio::test(flavor = "multi_thread")]
async fn p3_08_two_nodes_one_load() {
    let server = RedisServer::start();
    let loader = Node::start(&server.url()).await;
    let waiter = Node::on(&server.url(), &ManualClock::new()).await;
    let loads = Loads::new();
    let asked = || {
        let stats = server.commandstats();
        ["eval", "evalsha"].iter().filter_map(|name| stats.get(*name)).sum::<u64>()
    };
    // Filled, given up, removed: each ends the wait, and the last two make the waiter load.
    for round in 0..30_u64 {
        let key = format!("k{round}");
        let gate = Gate::new();
        let gated = loads.gated(&gate, round);
        let load = move || async move {
            let value = gated().await?;
            if round % 3 == 1 { Err(LoadFailed("given up")) } else { Ok(value) }
        };
        let (cache, own) = (loader.cache.clone(), key.clone());
        let loading = tokio::spawn(async move { cache.get_or_load(&own, LASTING, load).await });
        gate.reached().await;
        let before = asked();
        let (cache, own, load) = (waiter.cache.clone(), key.clone(), loads.returning(100 + round));
        let waiting = tokio::spawn(async move { cache.get_or_load(&own, LASTING, load).await });
        eventually(|| asked() > before).await;
        if round % 3 == 2 {
            loader.cache.invalidate(&key).await.unwrap();
            assert_eq!(*waiting.await.unwrap().unwrap(), 100 + round);
            gate.open();
            assert_eq!(*loading.await.unwrap().unwrap(), round);
        } else {
            gate.open();
            assert_eq!(loading.await.unwrap().is_ok(), round % 3 == 0);
            let left = if round % 3 == 0 { round } else { 100 + round };
            assert_eq!(*waiting.await.unwrap().unwrap(), left);
        }
    }
    assert_eq!(loads.count(), 30 + 20, "one load where the first succeeds, else two");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_program_writes_and_tells() {
    let two = Two::start().await;
    two.a.set("k", 1).await;
    assert_eq!(two.found("k").await, Some(1));
    two.server.command(&["SET", &name("k"), "2", "PX", "60000"]);
    publish(&two.server, "k");
    assert_eq!(two.found("k").await, Some(2));
    // What it wrote lives in memory no longer than in Redis.
    for node in [&two.a, &two.b] {
        let held = node.near.peek("k").unwrap();
        let left = node.near.clock().now().until(held.fresh_until());
        assert!(left <= Duration::from_secs(60), "{left:?}");
    }
    // While a node loads: the write wins.
    two.a.cache.invalidate("k").await.unwrap();
    told(&two.server, &[&two.a, &two.b]).await;
    let gate = Gate::new();
    let old = two.b.begin_load("k", LASTING, &gate, 3).await;
    two.server.command(&["SET", &name("k"), "4"]);
    gate.open();
    assert_eq!(old.await.unwrap(), 3);
    assert_eq!(two.found("k").await, Some(4), "the load overwrote the write");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_program_writes_garbage_under_a_key_that_is_held() {
    let two = Two::start().await;
    for garbage in ["not json", "\x01\x00", "", "{\"v\":"] {
        two.a.set("k", 1).await;
        told(&two.server, &[&two.a, &two.b]).await;
        assert_eq!(two.b.get("k").await, Some(1));
        two.server.command(&["SET", &name("k"), garbage]);
        assert_eq!(two.b.get("k").await, Some(1), "it holds what was there before");
        publish(&two.server, "k");
        assert_eq!(two.found("k").await, None, "{garbage:?} is a miss");
        assert_eq!(two.b.load("k", 2).await, 2);
        assert_eq!(two.found("k").await, Some(2), "{garbage:?} was not repaired");
    }
    two.server.command(&["DEL", &name("k")]);
    two.server.command(&["RPUSH", &name("k"), "1"]);
    publish(&two.server, "k");
    assert_eq!(two.found("k").await, None, "a list is a miss");
    assert_eq!(two.a.load("k", 3).await, 3);
    assert_eq!(two.found("k").await, Some(3));
}

/// Nothing that was dropped half-way leaves the tiers apart.
#[tokio::test(flavor = "multi_thread")]
async fn p7_dropped_writes_and_removals_leave_the_nodes_agreed() {
    let two = Two::start().await;
    for polls in 0..6 {
        let value = 10 * polls as u64;
        two.a.set("k", value).await;
        eventually_async(async || two.b.get("k").await == Some(value)).await;
        drop_after(polls, two.a.cache.set("k", &(value + 1), LASTING)).await;
        drop_after(polls, two.b.cache.invalidate("k")).await;
        eventually(|| two.a.stats().replays_pending + two.b.stats().replays_pending == 0).await;
        let left = two.found("k").await;
        assert!(left.is_none_or(|left| left == value || left == value + 1), "{left:?}");
    }
}
