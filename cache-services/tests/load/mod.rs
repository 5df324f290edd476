//! 200 tasks that use the caches of two nodes, while a test does something to Redis.
#![allow(clippy::print_stdout, reason = "figures, for whoever asks with --nocapture")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cache_core::{CacheError, CacheServiceExt, Policy};
use cache_redis::{RedisBus, RedisConfig};
use cache_testkit::history::{Client, Database, Mode, Recorder, check};
use tokio::task::JoinHandle;

use crate::nodes::{LASTING, Node, Parts, overheard};

const TASKS: usize = 200;
const KEYS: u64 = 100;
/// Between two calls of a task: so that what is measured is not the processor.
const REST: Duration = Duration::from_millis(25);

/// How long the hybrid waits for one answer; Redis's own budget of 250 ms ends before.
const BUDGET: Duration = Duration::from_millis(300);
/// What 200 tasks on two busy cores add to it.
const SLACK: Duration = Duration::from_millis(150);
/// A read, write or removal asks Redis once.
pub(crate) const CALL: Duration = BUDGET.saturating_add(SLACK);
/// How long a load may take, and so a lease that a node could not give back.
const LEASE: Duration = Duration::from_millis(500);
/// A load asks twice before its loader; of the calls it makes it goes on after one that fails, and
/// a lease whose holder is gone is over before that.
const LOAD: Duration = BUDGET.saturating_mul(2).saturating_add(SLACK);
/// How soon everything is well again once Redis is.
pub(crate) const HEAL: Duration = Duration::from_secs(2);

/// Two nodes, and the tasks that use them.
pub(crate) struct Load {
    pub(crate) a: Arc<Node>,
    pub(crate) b: Arc<Node>,
    recorder: Recorder,
    tasks: Vec<JoinHandle<()>>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    calls: AtomicUsize,
    failed: AtomicUsize,
    /// In milliseconds: the longest call and the longest load.
    worst: [AtomicU64; 2],
    withheld: Withheld,
}

/// For how long, in sum, this process was ready to run and was not let: by other processes. No bound
/// is about that.
#[derive(Default)]
struct Withheld(Arc<AtomicU64>);

impl Withheld {
    /// Counts until all others that share it are gone.
    fn watch(&self) {
        let micros = Arc::downgrade(&self.0);
        std::thread::spawn(move || {
            while let Some(micros) = micros.upgrade() {
                let (start, rest) = (Instant::now(), Duration::from_millis(2));
                std::thread::sleep(rest);
                // A timer may be late by less.
                let late = start.elapsed().saturating_sub(rest + Duration::from_millis(1));
                micros.fetch_add(u64::try_from(late.as_micros()).unwrap(), Ordering::Relaxed);
            }
        });
    }

    fn so_far(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::Relaxed))
    }
}

impl Shared {
    /// Runs a call, which must end in time.
    async fn bounded<T>(
        &self,
        what: &str,
        bound: Duration,
        call: impl Future<Output = Result<T, CacheError>>,
    ) -> bool {
        let (start, withheld) = (Instant::now(), self.withheld.so_far());
        let result = call.await;
        let took = start.elapsed().saturating_sub(self.withheld.so_far() - withheld);
        let millis = u64::try_from(took.as_millis()).unwrap();
        self.worst[usize::from(bound == LOAD)].fetch_max(millis, Ordering::Relaxed);
        let error = result.as_ref().err();
        assert!(took < bound, "{what} took {took:?}: {error:?}");
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.failed.fetch_add(usize::from(error.is_some()), Ordering::Relaxed);
        error.is_none()
    }
}

/// One task: reads mostly, each kind of call now and then.
async fn task(
    number: u64,
    node: usize,
    client: Client,
    recorder: Recorder,
    db: Database,
    shared: Arc<Shared>,
) {
    let mut rng = fastrand::Rng::with_seed(number);
    let policy = Policy::ttl(LASTING).load_timeout(LEASE);
    while !shared.stop.load(Ordering::Relaxed) {
        let key = format!("k:{}", rng.u64(..KEYS));
        match rng.u8(..20) {
            0..=7 => {
                shared.bounded("a get", CALL, client.get(&key)).await;
            }
            8..=15 => {
                let (own, db, name) = (recorder.clone(), db.clone(), key.clone());
                let load = move || async move {
                    Ok::<_, std::convert::Infallible>(own.load(node, &name, || db.read(&name)))
                };
                let load = client.get_or_load(&key, policy.clone(), load);
                assert!(shared.bounded("a load", LOAD, load).await, "the loader answers");
            }
            16 | 17 => {
                let set = client.set(&key, db.write(&key), LASTING);
                shared.bounded("a set", CALL, set).await;
            }
            _ => {
                db.write(&key);
                shared.bounded("an invalidation", CALL, client.invalidate(&key)).await;
            }
        }
        // Real time: the outage has its own.
        tokio::time::sleep(REST.mul_f64(0.5 + rng.f64())).await;
    }
}

impl Load {
    /// With the budgets that a service has.
    pub(crate) async fn start(config: RedisConfig) -> Self {
        let recorder = Recorder::new();
        let start = async |number| {
            let own = recorder.clone();
            let around = move |bus: RedisBus| {
                let recorded = own.bus(number, Arc::new(bus.clone()));
                overheard(bus, recorded)
            };
            let parts = Parts { bus: Box::new(around), ..Parts::default() };
            Arc::new(Node::of(config.clone(), parts, |tiers| tiers).await.in_service().await)
        };
        let (a, b) = (start(0).await, start(1).await);
        let (shared, db) = (Arc::<Shared>::default(), Database::new());
        shared.withheld.watch();
        let tasks = (0..TASKS).map(|number| {
            let node = number % 2;
            let cache = Arc::new([&a, &b][node].cache.clone());
            let client = Client::new(&recorder, node, cache);
            let shared = Arc::clone(&shared);
            tokio::spawn(task(number as u64, node, client, recorder.clone(), db.clone(), shared))
        });
        let tasks = tasks.collect();
        let load = Self { a, b, recorder, tasks, shared };
        load.goes_on(Duration::from_millis(300)).await;
        assert_eq!(load.shared.failed.load(Ordering::Relaxed), 0, "something fails without cause");
        load
    }

    /// Lets the tasks go on for so long, and for some calls each.
    pub(crate) async fn goes_on(&self, time: Duration) {
        let calls = self.shared.calls.load(Ordering::Relaxed) + TASKS * 2;
        // Real time: how long the outage lasts.
        tokio::time::sleep(time).await;
        while self.shared.calls.load(Ordering::Relaxed) < calls {
            if let Some(ended) = self.tasks.iter().find(|task| task.is_finished()) {
                unreachable!("a task has ended: {ended:?}");
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Waits until all is well again, which must be soon.
    pub(crate) async fn heals(&self, what: &str) {
        let start = Instant::now();
        for node in [&self.a, &self.b] {
            loop {
                let stats = node.stats();
                let reads = node.cache.get::<u64>("nobody's").await;
                let well = reads.is_ok()
                    && stats.near_served
                    && stats.replays_pending == 0
                    && !stats.far_open
                    && !stats.bus_open;
                if well {
                    break;
                }
                assert!(start.elapsed() < HEAL, "{what}: not healed: {stats:?}, {reads:?}");
                // Not to take the cores from those who heal.
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            let (key, other) = (format!("well:{what}"), [&self.a, &self.b]);
            // What failed a moment ago may still be under way.
            cache_testkit::eventually_async(async || {
                node.cache.set(&key, &1_u64, LASTING).await.is_ok()
            })
            .await;
            for node in other {
                cache_testkit::eventually_async(async || {
                    node.cache.get::<u64>(&key).await.ok() == Some(Some(1))
                })
                .await;
            }
            let invalidate = async || node.cache.invalidate(&key).await.is_ok();
            cache_testkit::eventually_async(invalidate).await;
        }
        println!("{what}: healed after {:?}", start.elapsed());
        assert!(start.elapsed() < HEAL, "{what}: healed after {:?}", start.elapsed());
        self.goes_on(Duration::from_millis(100)).await;
    }

    /// Ends the tasks: each call ended in time and no value was wrong.
    pub(crate) async fn ends(self, what: &str) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
        let Shared { calls, failed, worst, .. } = &*self.shared;
        println!(
            "{what}: {calls:?} calls, {failed:?} failed; worst call {:?} ms, worst load {:?} ms",
            worst[0], worst[1]
        );
        check(&self.recorder.history(), Mode::Told).unwrap_or_else(|wrong| unreachable!("{wrong}"));
    }
}
