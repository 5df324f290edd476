//! The engine over a store that is not in the process: one that answers only `fetch`, grants one
//! lease at a time, and can fail.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is how a test fails")]

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use cache_core::{
    CacheError, CacheService, CacheServiceExt, CacheStats, CacheStore, Clock, Entry, ErrorKind,
    Lease, LeaseOutcome, ManualClock, Policy, ReadThrough, Selector,
};
use tokio::sync::Semaphore;

const TTL: Duration = Duration::from_secs(60);
/// How often a node looks again while another holds the lease.
const RETRY: Duration = Duration::from_millis(50);

/// A store as if across a network: nothing can be peeked, leases are exclusive.
#[derive(Debug)]
struct Remote {
    clock: Clock,
    entries: Mutex<HashMap<String, Entry>>,
    leases: Mutex<HashMap<String, Lease>>,
    next: AtomicU64,
    down: AtomicBool,
}

impl Remote {
    fn new(clock: &ManualClock) -> Arc<Self> {
        Arc::new(Self {
            clock: clock.clock(),
            entries: Mutex::default(),
            leases: Mutex::default(),
            next: AtomicU64::new(0),
            down: AtomicBool::new(false),
        })
    }

    fn up(&self) -> Result<(), CacheError> {
        match self.down.load(Ordering::Relaxed) {
            true => Err(CacheError::new(ErrorKind::Unavailable, "the remote store is down")),
            false => Ok(()),
        }
    }

    fn held(&self, key: &str) -> Option<Entry> {
        let entry = self.entries.lock().unwrap().get(key).cloned()?;
        entry.is_servable(self.clock.now()).then_some(entry)
    }

    fn put(&self, key: &str, entry: Entry) {
        let entry = entry.settle(self.clock.now(), TTL);
        self.entries.lock().unwrap().insert(key.to_owned(), entry);
    }
}

#[async_trait]
impl CacheStore for Remote {
    fn peek(&self, _key: &str) -> Option<Entry> {
        None
    }

    async fn fetch(&self, key: &str) -> Result<Option<Entry>, CacheError> {
        self.up()?;
        Ok(self.held(key))
    }

    async fn fetch_many(&self, keys: &[String]) -> Result<Vec<Option<Entry>>, CacheError> {
        self.up()?;
        Ok(keys.iter().map(|key| self.held(key)).collect())
    }

    async fn store(&self, key: &str, entry: Entry) -> Result<(), CacheError> {
        self.up()?;
        self.leases.lock().unwrap().remove(key);
        self.put(key, entry);
        Ok(())
    }

    async fn store_many(&self, entries: Vec<(String, Entry)>) -> Result<(), CacheError> {
        for (key, entry) in entries {
            self.store(&key, entry).await?;
        }
        Ok(())
    }

    async fn remove(&self, what: &Selector) -> Result<Option<u64>, CacheError> {
        self.up()?;
        self.leases.lock().unwrap().retain(|key, _| !what.matches(key));
        self.entries.lock().unwrap().retain(|key, _| !what.matches(key));
        Ok(None)
    }

    async fn lease(&self, key: &str, ttl: Duration) -> Result<LeaseOutcome, CacheError> {
        self.up()?;
        if let Some(entry) = self.held(key).filter(|entry| entry.is_fresh(self.clock.now())) {
            return Ok(LeaseOutcome::Fresh(entry));
        }
        self.lease_to_replace(key, ttl).await
    }

    async fn lease_to_replace(&self, key: &str, ttl: Duration) -> Result<LeaseOutcome, CacheError> {
        self.up()?;
        let now = self.clock.now();
        let mut leases = self.leases.lock().unwrap();
        if let Some(held) = leases.get(key).filter(|lease| now < lease.valid_until()) {
            let retry_after = now.until(held.valid_until()).min(RETRY);
            return Ok(LeaseOutcome::Held { retry_after });
        }
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let lease = Lease::new(key, id, now + ttl);
        leases.insert(key.to_owned(), lease.clone());
        Ok(LeaseOutcome::Granted(lease))
    }

    async fn fill(&self, lease: Lease, entry: Entry) -> Result<bool, CacheError> {
        self.up()?;
        let mut leases = self.leases.lock().unwrap();
        if leases.get(lease.key()) != Some(&lease) || self.clock.now() >= lease.valid_until() {
            return Ok(false);
        }
        leases.remove(lease.key());
        self.put(lease.key(), entry);
        Ok(true)
    }

    async fn abandon(&self, lease: Lease) -> Result<(), CacheError> {
        let mut leases = self.leases.lock().unwrap();
        if leases.get(lease.key()) == Some(&lease) {
            leases.remove(lease.key());
        }
        Ok(())
    }

    fn stats(&self) -> CacheStats {
        CacheStats::default()
    }

    fn clock(&self) -> Clock {
        self.clock.clone()
    }
}

/// Two nodes with an engine each, over one remote store.
struct Fleet {
    clock: ManualClock,
    remote: Arc<Remote>,
    a: ReadThrough<Arc<Remote>>,
    b: ReadThrough<Arc<Remote>>,
}

fn fleet() -> Fleet {
    let clock = ManualClock::new();
    let remote = Remote::new(&clock);
    let node = || ReadThrough::new(Arc::clone(&remote));
    Fleet { a: node(), b: node(), clock, remote }
}

/// A loader that waits for the test.
#[derive(Clone)]
struct Gate(Arc<(Semaphore, Semaphore)>);

impl Gate {
    fn new() -> Self {
        Self(Arc::new((Semaphore::new(0), Semaphore::new(0))))
    }

    async fn pass(&self, value: u32) -> Result<u32, std::io::Error> {
        self.0.0.add_permits(1);
        self.0.1.acquire().await.unwrap().forget();
        Ok(value)
    }

    async fn started(&self) {
        self.0.0.acquire().await.unwrap().forget();
    }

    fn open(&self) {
        self.0.1.add_permits(1);
    }
}

fn loading(
    node: &ReadThrough<Arc<Remote>>,
    gate: &Gate,
    value: u32,
    policy: Policy,
) -> tokio::task::JoinHandle<Result<Arc<u32>, CacheError>> {
    let (node, gate) = (node.clone(), gate.clone());
    tokio::spawn(async move {
        node.get_or_load("k", policy, move || async move { gate.pass(value).await }).await
    })
}

async fn never() -> Result<u32, std::io::Error> {
    panic!("nothing was to be loaded")
}

/// Waits until `count` timers wait for the clock.
async fn asleep(clock: &ManualClock, count: usize) {
    for _ in 0..10_000 {
        if clock.sleepers() >= count {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("{} timers are set, not {count}", clock.sleepers());
}

#[tokio::test]
async fn p3_08_two_nodes_one_load() {
    let fleet = fleet();
    let gate = Gate::new();
    let first = loading(&fleet.a, &gate, 1, Policy::ttl(TTL));
    gate.started().await;
    let second = loading(&fleet.b, &Gate::new(), 2, Policy::ttl(TTL));
    // The first node's load timeout, and the second node's wait for the lease.
    asleep(&fleet.clock, 2).await;
    gate.open();
    assert_eq!(*first.await.unwrap().unwrap(), 1);
    assert!(!second.is_finished());
    fleet.clock.advance(RETRY);
    assert_eq!(*second.await.unwrap().unwrap(), 1);
    assert_eq!(fleet.a.stats().loads + fleet.b.stats().loads, 1);
}

#[tokio::test]
async fn p3_09_another_node_takes_over_when_the_lease_ends() {
    let fleet = fleet();
    // A node that died with a lease of 10 s.
    let LeaseOutcome::Granted(_lost) =
        fleet.remote.lease("k", Duration::from_secs(10)).await.unwrap()
    else {
        panic!("the key is free")
    };
    let gate = Gate::new();
    gate.open();
    let load = loading(&fleet.b, &gate, 2, Policy::ttl(TTL));
    asleep(&fleet.clock, 1).await;
    fleet.clock.advance(Duration::from_secs(9));
    asleep(&fleet.clock, 1).await;
    assert_eq!(fleet.b.stats().loads, 0);
    fleet.clock.advance(Duration::from_secs(1));
    assert_eq!(*load.await.unwrap().unwrap(), 2);
    assert_eq!(fleet.a.get::<u32>("k").await.unwrap(), Some(2));
}

/// The wait for a node that died takes nothing from the time that the loader has.
#[tokio::test]
async fn p3_09_who_takes_over_has_the_whole_load_timeout() {
    let clock = ManualClock::new();
    let remote = Remote::new(&clock);
    let budget = Duration::from_secs(30);
    let LeaseOutcome::Granted(_dead) = remote.lease("k", budget).await.unwrap() else {
        panic!("the first lease")
    };
    let node = ReadThrough::builder(Arc::clone(&remote)).clock(clock.clock()).build();
    let policy = Policy::ttl(TTL).load_timeout(budget);
    let loading = tokio::spawn({
        let (node, clock) = (node.clone(), clock.clone());
        async move {
            let load = move || async move {
                clock.clock().sleep(Duration::from_secs(20)).await;
                Ok::<_, std::io::Error>(7_u32)
            };
            node.get_or_load("k", policy, load).await
        }
    });
    // It looks again and again until the lease has run out.
    for _ in 0..=budget.as_millis() / RETRY.as_millis() {
        asleep(&clock, 1).await;
        clock.advance(RETRY);
    }
    asleep(&clock, 2).await;
    clock.advance(Duration::from_secs(20));
    assert_eq!(*loading.await.unwrap().unwrap(), 7);
}

#[tokio::test]
async fn a_node_that_loads_alone_does_not_wait_and_does_not_store() {
    let fleet = fleet();
    let gate = Gate::new();
    let first = loading(&fleet.a, &gate, 1, Policy::ttl(TTL));
    gate.started().await;
    let alone = Policy::ttl(TTL).single_flight_across_nodes(false);
    let other = Gate::new();
    other.open();
    assert_eq!(*loading(&fleet.b, &other, 2, alone).await.unwrap().unwrap(), 2);
    assert_eq!(fleet.b.get::<u32>("k").await.unwrap(), None);
    gate.open();
    assert_eq!(*first.await.unwrap().unwrap(), 1);
    assert_eq!(fleet.b.get::<u32>("k").await.unwrap(), Some(1));
}

#[tokio::test]
async fn p1_05_removed_on_another_node_while_loading() {
    let fleet = fleet();
    let gate = Gate::new();
    let load = loading(&fleet.a, &gate, 1, Policy::ttl(TTL));
    gate.started().await;
    fleet.b.invalidate("k").await.unwrap();
    gate.open();
    assert_eq!(*load.await.unwrap().unwrap(), 1);
    assert_eq!(fleet.a.get::<u32>("k").await.unwrap(), None);
    assert_eq!(fleet.a.stats().fills_refused, 1);
}

#[tokio::test]
async fn a_stale_entry_found_remotely_is_served_while_one_refresh_runs() {
    let fleet = fleet();
    let policy = Policy::ttl(TTL).stale_for(TTL);
    fleet.a.set("k", &1, &policy).await.unwrap();
    fleet.clock.advance(TTL);
    let gate = Gate::new();
    assert_eq!(*loading(&fleet.a, &gate, 2, policy.clone()).await.unwrap().unwrap(), 1);
    assert_eq!(*loading(&fleet.a, &gate, 3, policy.clone()).await.unwrap().unwrap(), 1);
    gate.started().await;
    gate.open();
    for _ in 0..10_000 {
        if fleet.a.loads_in_flight() == 0 {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(fleet.a.get::<u32>("k").await.unwrap(), Some(2));
    let stats = fleet.a.stats();
    assert_eq!((stats.loads, stats.stale_served, stats.misses), (1, 2, 0));
}

/// A node knows the store's time to within a round trip. To one that is ahead a value is over which
/// the store still deems fresh: the load has a lease all the same, so that no fill is lost and none
/// comes after a removal.
#[tokio::test]
async fn p1_a_node_whose_clock_is_ahead_loads_under_a_lease() {
    let fleet = fleet();
    let ahead = ManualClock::new();
    let node = ReadThrough::builder(Arc::clone(&fleet.remote)).clock(&ahead).build();
    let load = async |value: u32, removed: bool| {
        node.set("k", &0_u32, TTL).await.unwrap();
        ahead.advance(TTL);
        let gate = Gate::new();
        let load = loading(&node, &gate, value, Policy::ttl(TTL));
        gate.started().await;
        if removed {
            fleet.b.invalidate("k").await.unwrap();
        }
        gate.open();
        assert_eq!(*load.await.unwrap().unwrap(), value);
        fleet.b.get::<u32>("k").await.unwrap()
    };
    assert_eq!(load(1, false).await, Some(1), "what was loaded was not stored");
    let refused = node.stats().fills_refused;
    assert_eq!(load(2, true).await, None, "the old value was stored");
    assert_eq!(node.stats().fills_refused, refused + 1);
}

#[tokio::test]
async fn a_caller_without_a_stale_window_waits_for_the_refresh() {
    let fleet = fleet();
    let tolerant = Policy::ttl(TTL).stale_for(TTL);
    fleet.a.set("k", &1, &tolerant).await.unwrap();
    fleet.clock.advance(TTL);
    let gate = Gate::new();
    assert_eq!(*loading(&fleet.a, &gate, 2, tolerant).await.unwrap().unwrap(), 1);
    let strict = loading(&fleet.a, &Gate::new(), 3, Policy::ttl(TTL));
    gate.started().await;
    gate.open();
    assert_eq!(*strict.await.unwrap().unwrap(), 2);
}

#[tokio::test]
async fn p5_a_store_that_is_down_degrades_loads_to_the_loader() {
    let fleet = fleet();
    fleet.remote.down.store(true, Ordering::Relaxed);
    let value = fleet.a.get_or_load("k", TTL, || async { Ok::<_, std::io::Error>(7_u32) }).await;
    assert_eq!(*value.unwrap(), 7);
    let all = fleet.a.get_or_load_many(&["k", "l"], TTL, |keys| async move {
        Ok::<_, std::io::Error>(keys.into_iter().map(|key| (key, 8_u32)).collect())
    });
    assert!(all.await.unwrap().into_iter().all(|value| *value.unwrap() == 8));
    assert_eq!(fleet.a.get::<u32>("k").await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(fleet.a.set("k", &1, TTL).await.unwrap_err().key(), Some("k"));
    fleet.remote.down.store(false, Ordering::Relaxed);
    assert_eq!(fleet.a.get::<u32>("k").await.unwrap(), None, "nothing was stored without a lease");
}

#[tokio::test]
async fn a_failed_load_gives_the_lease_back() {
    let fleet = fleet();
    let failing = || async { Err::<u32, _>(std::io::Error::other("no database")) };
    let error = fleet.a.get_or_load("k", TTL, failing).await.unwrap_err();
    assert_eq!(error.loader_error::<std::io::Error>().unwrap().to_string(), "no database");
    let value = fleet.b.get_or_load("k", TTL, || async { Ok::<_, std::io::Error>(2_u32) }).await;
    assert_eq!(*value.unwrap(), 2);
}

#[tokio::test]
async fn many_keys_wait_for_the_leases_of_another_node() {
    let fleet = fleet();
    let gate = Gate::new();
    let first = loading(&fleet.a, &gate, 1, Policy::ttl(TTL));
    gate.started().await;
    let many = tokio::spawn({
        let node = fleet.b.clone();
        async move {
            node.get_or_load_many(&["k", "l"], TTL, |keys| async move {
                assert_eq!(keys, ["l"], "what another node has loaded is not loaded again");
                Ok::<_, std::io::Error>(HashMap::from([("l".to_owned(), 5_u32)]))
            })
            .await
        }
    });
    asleep(&fleet.clock, 2).await;
    gate.open();
    first.await.unwrap().unwrap();
    fleet.clock.advance(RETRY);
    let values = many.await.unwrap().unwrap();
    assert_eq!(values.into_iter().map(|value| *value.unwrap()).collect::<Vec<_>>(), [1, 5]);
    assert_eq!(fleet.a.get::<u32>("k").await.unwrap(), Some(1));
}

/// Loads 1 and 2 under `k` and `l`, for `takes`.
fn loading_two(
    node: &ReadThrough<Arc<Remote>>,
    clock: &ManualClock,
    takes: Duration,
    policy: Policy,
) -> tokio::task::JoinHandle<Result<Vec<u32>, CacheError>> {
    let (node, clock) = (node.clone(), clock.clone());
    tokio::spawn(async move {
        let load = move |keys: Vec<String>| async move {
            clock.clock().sleep(takes).await;
            let value = |key: String| if key == "k" { (key, 1_u32) } else { (key, 2) };
            Ok::<_, std::io::Error>(keys.into_iter().map(value).collect::<HashMap<_, _>>())
        };
        let values = node.get_or_load_many(&["k", "l"], policy, load).await?;
        Ok(values.into_iter().map(|value| *value.unwrap()).collect())
    })
}

/// Lets time pass, and everybody do what there is to do.
async fn pass(clock: &ManualClock, time: Duration) {
    for _ in 0..=time.as_millis() / RETRY.as_millis() {
        clock.advance(RETRY);
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }
}

/// While it waits for a node that died with the lease of one key, its lease of another grows old.
#[tokio::test]
async fn p3_09_who_takes_over_one_of_many_fills_them_all() {
    let (fleet, second) = (fleet(), Duration::from_secs(1));
    let policy = Policy::ttl(TTL).load_timeout(30 * second);
    let LeaseOutcome::Granted(_dead) = fleet.remote.lease("l", 20 * second).await.unwrap() else {
        panic!("the first lease")
    };
    let first = loading_two(&fleet.a, &fleet.clock, 25 * second, policy.clone());
    asleep(&fleet.clock, 1).await;
    pass(&fleet.clock, 20 * second).await;
    let other = loading_two(&fleet.b, &fleet.clock, second, policy);
    pass(&fleet.clock, 30 * second).await;
    assert!(first.is_finished() && other.is_finished());
    assert_eq!(first.await.unwrap().unwrap(), [1, 2]);
    assert_eq!(other.await.unwrap().unwrap(), [1, 2]);
    assert_eq!((fleet.a.stats().loads, fleet.b.stats().loads), (1, 0));
    assert_eq!(fleet.a.stats().fills_refused, 0);
}

/// Both wait for one that died, and would take over.
#[tokio::test]
async fn p3_09_two_nodes_that_take_over_many_keys_load_them_once() {
    let (fleet, second) = (fleet(), Duration::from_secs(1));
    let policy = Policy::ttl(TTL).load_timeout(30 * second);
    let LeaseOutcome::Granted(_dead) = fleet.remote.lease("l", 28 * second).await.unwrap() else {
        panic!("the first lease")
    };
    let first = loading_two(&fleet.a, &fleet.clock, second * 5 / 2, policy.clone());
    asleep(&fleet.clock, 1).await;
    pass(&fleet.clock, second).await;
    let other = loading_two(&fleet.b, &fleet.clock, second * 5 / 2, policy);
    pass(&fleet.clock, 60 * second).await;
    assert!(first.is_finished() && other.is_finished());
    assert_eq!(first.await.unwrap().unwrap(), [1, 2]);
    assert_eq!(other.await.unwrap().unwrap(), [1, 2]);
    assert_eq!(fleet.a.stats().loads + fleet.b.stats().loads, 1);
    assert_eq!(fleet.a.stats().fills_refused + fleet.b.stats().fills_refused, 0);
}

#[tokio::test]
async fn a_hit_loads_nothing() {
    let fleet = fleet();
    fleet.a.set("k", &1, TTL).await.unwrap();
    assert_eq!(*fleet.b.get_or_load("k", TTL, never).await.unwrap(), 1);
    assert_eq!(fleet.b.stats().remote_hits, 1);
    assert_eq!(fleet.b.stats().misses, 0);
}

#[test]
fn without_a_runtime_a_load_is_an_error_and_a_service_is_usable_as_dyn() {
    let fleet = fleet();
    let cache: Arc<dyn CacheService> = Arc::new(fleet.a);
    let load = cache.get_or_load("k", TTL, never);
    let mut load = std::pin::pin!(load);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match load.as_mut().poll(&mut context) {
        std::task::Poll::Ready(Err(error)) => assert_eq!(error.kind(), ErrorKind::Config),
        other => panic!("{other:?}"),
    }
}
