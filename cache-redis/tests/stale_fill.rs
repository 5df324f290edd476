//! P1, no stale fill, with two clients of one server: what was loaded before an invalidation is
//! never in Redis after it, whoever loaded and whoever invalidated.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod scenario;

use std::time::Duration;

use cache_core::{CacheServiceExt, CacheStore, LeaseOutcome, ManualClock, Policy};
use cache_redis::RedisCacheService;
use cache_testkit::servers::RedisServer;
use cache_testkit::{Gate, eventually_async};
use scenario::{LASTING, begin_load, config, get, load, name};

/// Two nodes, as far as the server can tell.
struct Two {
    server: RedisServer,
    a: RedisCacheService,
    b: RedisCacheService,
}

impl Two {
    async fn start() -> Self {
        let server = RedisServer::start();
        let (a, b) = (patient(&server.url()).await, patient(&server.url()).await);
        Self { server, a, b }
    }

    /// What a read on either finds; they agree.
    async fn found(&self, key: &str) -> Option<u64> {
        let found = get(&self.a, key).await;
        assert_eq!(get(&self.b, key).await, found, "the clients disagree on {key}");
        found
    }

    fn type_del(&self, key: &str) {
        self.server.command(&["DEL", &name(key)]);
    }

    /// Stale now, servable for long.
    async fn put_stale(&self, key: &str) {
        let policy = Policy::ttl(Duration::from_millis(1)).stale_for(LASTING);
        self.a.set(key, &9_u64, policy).await.unwrap();
        // Their clocks differ by what they cannot know of the server's: a round trip at most.
        eventually_async(async || get(&self.a, key).await.is_none()).await;
        eventually_async(async || get(&self.b, key).await.is_none()).await;
        assert!(self.a.fetch(key).await.unwrap().is_some(), "{key} is stale and there");
    }
}

/// What is stored is the subject here, not the budget of a call on a busy machine.
const PATIENT: Duration = Duration::from_secs(5);

async fn patient(url: &str) -> RedisCacheService {
    RedisCacheService::connect(config(url).operation_timeout(PATIENT)).await.unwrap()
}

/// What `invalidate` leaves of a load that was under way on `loader`; `other` is the other node.
async fn nothing_old_is_left(
    two: &Two,
    (loader, other): (&RedisCacheService, &RedisCacheService),
    key: &'static str,
    invalidate: impl AsyncFn(&Two, &'static str),
) {
    // Nobody asks before the old load has ended.
    let gate = Gate::new();
    let old = begin_load(loader, key, LASTING, &gate, 1).await;
    invalidate(two, key).await;
    assert_eq!(two.found(key).await, None);
    let refused = loader.stats().fills_refused;
    gate.open();
    assert_eq!(old.await.unwrap(), 1, "who had waited gets what was loaded");
    assert_eq!(loader.stats().fills_refused, refused + 1, "the fill was not refused");
    assert_eq!(two.found(key).await, None, "the old value was stored");
    assert!(other.fetch(key).await.unwrap().is_none(), "the old value was stored, stale");
    assert_eq!(load(other, key, 2).await, 2, "the next caller got the old value");
    assert_eq!(load(loader, key, 3).await, 2);

    // The next caller, on the other node, comes while the old load is still out.
    invalidate(two, key).await;
    let gate = Gate::new();
    let old = begin_load(loader, key, LASTING, &gate, 3).await;
    invalidate(two, key).await;
    assert_eq!(load(other, key, 4).await, 4);
    gate.open();
    assert_eq!(old.await.unwrap(), 3);
    assert_eq!(two.found(key).await, Some(4), "the old load overwrote the newer value");
}

/// Over an absent key and over a stale value, loaded where it is invalidated (on `a`, or by hand)
/// and on the other node.
async fn in_every_way(invalidate: impl AsyncFn(&Two, &'static str)) {
    let two = Two::start().await;
    for (loader, other) in [(&two.a, &two.b), (&two.b, &two.a)] {
        two.server.flush();
        nothing_old_is_left(&two, (loader, other), "org:absent", &invalidate).await;
        two.put_stale("org:stale").await;
        nothing_old_is_left(&two, (loader, other), "org:stale", &invalidate).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_01_and_05_key_removed_while_loading_here_or_elsewhere() {
    in_every_way(async |two, key| two.a.invalidate(key).await.unwrap()).await;
    in_every_way(async |two, key| two.a.invalidate_many(&["x", key, "y"]).await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_02_key_overwritten_while_loading() {
    let two = Two::start().await;
    for stale in [false, true] {
        for (loader, writer) in [(&two.a, &two.a), (&two.a, &two.b)] {
            two.server.flush();
            if stale {
                two.put_stale("k").await;
            }
            let gate = Gate::new();
            let old = begin_load(loader, "k", LASTING, &gate, 1).await;
            writer.set("k", &2_u64, LASTING).await.unwrap();
            assert_eq!(two.found("k").await, Some(2));
            gate.open();
            assert_eq!(old.await.unwrap(), 1);
            assert_eq!(two.found("k").await, Some(2), "the load overwrote the write");
            assert_eq!(load(loader, "k", 3).await, 2);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_02_written_by_another_program_while_loading() {
    let two = Two::start().await;
    let gate = Gate::new();
    let old = begin_load(&two.b, "k", LASTING, &gate, 1).await;
    two.server.command(&["SET", &name("k"), "2"]);
    assert_eq!(two.found("k").await, Some(2));
    gate.open();
    assert_eq!(old.await.unwrap(), 1);
    assert_eq!(two.found("k").await, Some(2), "the load overwrote the write");
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_03_prefix_removed_while_loading() {
    in_every_way(async |two, _| two.a.invalidate_prefix("org:").await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_04_cleared_while_loading() {
    in_every_way(async |two, _| two.a.clear().await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_06_del_typed_into_redis_while_loading() {
    in_every_way(async |two, key| two.type_del(key)).await;
    in_every_way(async |two, _| two.server.flush()).await;
}

/// The one whose clock stands still does not notice; the server's does not.
#[tokio::test(flavor = "multi_thread")]
async fn p1_10_lease_ran_out_before_the_fill() {
    let server = RedisServer::start();
    let slow_config = config(&server.url()).operation_timeout(PATIENT).clock(ManualClock::new());
    let slow = RedisCacheService::connect(slow_config).await.unwrap();
    let other = patient(&server.url()).await;
    let policy = Policy::ttl(LASTING).load_timeout(Duration::from_millis(100));

    // Another takes over.
    let gate = Gate::new();
    let old = begin_load(&slow, "taken", &policy, &gate, 1).await;
    assert_eq!(load(&other, "taken", 2).await, 2, "the lease never ran out");
    gate.open();
    assert_eq!(old.await.unwrap(), 1);
    assert_eq!(get(&other, "taken").await, Some(2), "a fill without a lease");

    // Nobody does.
    let gate = Gate::new();
    let old = begin_load(&slow, "left", &policy, &gate, 1).await;
    eventually_async(async || server.command(&["EXISTS", &name("left")]).integer() == 0).await;
    gate.open();
    assert_eq!(old.await.unwrap(), 1);
    assert_eq!(get(&other, "left").await, None, "a fill without a lease");
    assert_eq!(slow.stats().fills_refused, 2);

    // On a stale value, which outlives the lease.
    let stale = Policy::ttl(Duration::from_millis(1)).stale_for(LASTING);
    other.set("stale", &9_u64, stale).await.unwrap();
    let third = patient(&server.url()).await;
    eventually_async(async || get(&other, "stale").await.is_none()).await;
    eventually_async(async || get(&third, "stale").await.is_none()).await;
    let LeaseOutcome::Granted(lease) =
        other.lease_to_replace("stale", Duration::from_millis(20)).await.unwrap()
    else {
        unreachable!("nobody else asks");
    };
    assert_eq!(load(&third, "stale", 2).await, 2, "the lease never ran out");
    let entry = cache_core::Entry::encode(&1_u64, &Policy::ttl(LASTING)).unwrap();
    assert!(!other.fill(lease, entry).await.unwrap());
    assert_eq!(get(&other, "stale").await, Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_11_absent_key_removed_while_loading() {
    let two = Two::start().await;
    for (loader, remover) in [(&two.a, &two.a), (&two.a, &two.b)] {
        let gate = Gate::new();
        let absent = gate.loader(None::<u64>);
        let cache = loader.clone();
        let old = tokio::spawn(async move { cache.get_or_load_opt("none", LASTING, absent).await });
        gate.reached().await;
        remover.invalidate("none").await.unwrap();
        assert_eq!(two.server.command(&["DBSIZE"]).integer(), 0, "the lease is still there");
        gate.open();
        assert_eq!(old.await.unwrap().unwrap(), None);
        assert!(loader.fetch("none").await.unwrap().is_none(), "the old absence was stored");
        assert_eq!(load(loader, "none", 2).await, 2);
        remover.invalidate("none").await.unwrap();
    }
}

/// A process that is copied while it runs goes on drawing what its copy draws.
#[tokio::test]
async fn p1_the_copy_of_a_process_never_takes_the_same_lease() {
    let two = Two::start().await;
    let mut ids = Vec::new();
    for node in [&two.a, &two.b] {
        fastrand::seed(7);
        match node.lease("k", LASTING).await.unwrap() {
            LeaseOutcome::Granted(lease) => ids.push(lease.id()),
            other => unreachable!("{other:?}"),
        }
        two.type_del("k");
    }
    assert_ne!(ids[0], ids[1], "the lease of one would let the other fill");
}
