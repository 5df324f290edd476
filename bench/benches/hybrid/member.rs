//! A process of the fleet: a node of its own that does what it is told, line by line.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io::{BufRead as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use cache_bench_kit::cpu_seconds;
use cache_bench_kit::value::{TTL, key, org};
use cache_core::{CacheServiceExt, CacheStore, Policy, Selector};
use cache_hybrid::HybridCache;
use parking_lot::Mutex;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use tokio::runtime::Builder;
use tokio::time::sleep;

use crate::node::node;

/// Says that this process is one of the fleet.
pub(crate) const MEMBER: &str = "member";
/// Tasks that ask.
const TASKS: usize = 32;
/// Before each removal, so that all begin alike: with every thread at rest.
const REST: Duration = Duration::from_millis(1);

/// What a process is told to do.
#[derive(Serialize, Deserialize)]
pub(crate) enum Order {
    /// So many requests for so many keys, at random.
    Ask { requests: usize, keys: usize },
    /// Removals of keys that the others hold, one after the other.
    Remove { keys: usize },
    /// So many writes of one key, one after the other.
    Storm { writes: usize },
    /// Reads of that key, over and over, until something else is said.
    Watch,
    /// An end to that.
    Rest,
    /// What has come in so far.
    Tell,
}

/// What it answers.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub(crate) near_hits: u64,
    pub(crate) far_reads: u64,
    pub(crate) loads: u64,
    /// Messages from others.
    pub(crate) heard: u64,
    /// Of the processor, all in all.
    pub(crate) cpu: f64,
    /// What the order took.
    pub(crate) seconds: f64,
    /// When removals began here, or others' were carried out here: nanoseconds of the machine's clock,
    /// by key.
    pub(crate) removals: HashMap<String, u64>,
}

/// Nanoseconds since the machine started: the same in every process.
fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    u64::try_from(time.tv_sec).unwrap() * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap()
}

/// Does what is said on standard input, and answers on standard output.
pub(crate) fn serve(url: &str) {
    let runtime = Builder::new_multi_thread().enable_all().build().unwrap();
    let cache = runtime.block_on(node(url));
    let member = Member {
        loads: Arc::default(),
        removals: removals(&cache),
        watching: Arc::default(),
        cache,
    };
    for line in std::io::stdin().lock().lines() {
        let answer = runtime.block_on(member.obey(serde_json::from_str(&line.unwrap()).unwrap()));
        let mut out = std::io::stdout().lock();
        serde_json::to_writer(&mut out, &answer).unwrap();
        out.write_all(b"\n").unwrap();
        out.flush().unwrap();
    }
}

/// When keys have gone from the near tier.
fn removals(cache: &HybridCache) -> Arc<Mutex<HashMap<String, u64>>> {
    let removals: Arc<Mutex<HashMap<String, u64>>> = Arc::default();
    let noted = Arc::clone(&removals);
    cache.on_removal(Arc::new(move |what| {
        if let Selector::Keys(keys) = what {
            let now = now();
            noted.lock().extend(keys.iter().map(|key| (key.clone(), now)));
        }
    }));
    removals
}

struct Member {
    cache: HybridCache,
    loads: Arc<AtomicU64>,
    removals: Arc<Mutex<HashMap<String, u64>>>,
    watching: Arc<AtomicBool>,
}

impl Member {
    async fn obey(&self, order: Order) -> Answer {
        let start = now();
        let mut begun = HashMap::new();
        match order {
            Order::Ask { requests, keys } => self.ask(requests, keys).await,
            Order::Remove { keys } => {
                for id in 0..keys {
                    sleep(REST).await;
                    begun.insert(key(id), now());
                    self.cache.invalidate(&key(id)).await.unwrap();
                }
            }
            Order::Storm { writes } => {
                for write in 0..writes {
                    self.cache.set(&key(0), &org(write), TTL).await.unwrap();
                }
            }
            Order::Watch => self.watch(),
            Order::Rest => self.watching.store(false, Ordering::Release),
            Order::Tell => {}
        }
        let (stats, tiers) = (self.cache.stats(), self.cache.tiers().tier_stats());
        if begun.is_empty() {
            begun = std::mem::take(&mut *self.removals.lock());
        }
        Answer {
            near_hits: stats.local_hits,
            far_reads: tiers.far_reads,
            loads: self.loads.load(Ordering::Relaxed),
            heard: tiers.heard,
            cpu: cpu_seconds(),
            seconds: (now() - start) as f64 / 1e9,
            removals: begun,
        }
    }

    async fn ask(&self, requests: usize, keys: usize) {
        let names: Arc<[String]> = (0..keys).map(key).collect();
        let mut started = Vec::new();
        for task in 0..TASKS {
            let (cache, names, loads) = (self.cache.clone(), names.clone(), self.loads.clone());
            started.push(tokio::spawn(async move {
                let mut random = fastrand::Rng::with_seed(task as u64);
                for _ in 0..requests / TASKS {
                    let (id, loads) = (random.usize(..keys), loads.clone());
                    let load = move || async move {
                        loads.fetch_add(1, Ordering::Relaxed);
                        Ok::<_, Infallible>(org(id))
                    };
                    let org = cache.get_or_load(&names[id], Policy::ttl(TTL), load).await.unwrap();
                    assert_eq!(org.id, id);
                }
            }));
        }
        for task in started {
            task.await.unwrap();
        }
    }

    /// As many readers have it: a read every millisecond.
    fn watch(&self) {
        self.watching.store(true, Ordering::Release);
        let (cache, watching) = (self.cache.clone(), Arc::clone(&self.watching));
        drop(tokio::spawn(async move {
            while watching.load(Ordering::Acquire) {
                let load = || async { Ok::<_, Infallible>(org(0)) };
                cache.get_or_load(&key(0), TTL, load).await.unwrap();
                sleep(Duration::from_millis(1)).await;
            }
        }));
    }
}
