//! A fleet: three nodes, many requests on few keys, and as many loads as keys.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use cache_bench::{Bound, bounded};
use cache_core::{CacheServiceExt, CacheStore, Policy};

use crate::Bench;
use crate::node::node;
use crate::value::{TTL, key, org};

const NODES: usize = 3;
const REQUESTS: usize = 100_000;
const KEYS: usize = 1_000;
const TASKS: usize = 32;

pub(crate) fn run(bench: &Bench) {
    let (runtime, url) = (&bench.runtime, bench.server.url());
    let loads = Arc::new(AtomicUsize::new(0));
    let keys: Arc<[String]> = (0..KEYS).map(key).collect();
    let nodes: Vec<_> = (0..NODES).map(|_| runtime.block_on(node(&url))).collect();
    let start = Instant::now();
    let mut started = Vec::new();
    for task in 0..NODES * TASKS {
        let (cache, keys, loads) = (nodes[task % NODES].clone(), keys.clone(), loads.clone());
        started.push(runtime.spawn(async move {
            let mut random = fastrand::Rng::with_seed(task as u64);
            for _ in 0..REQUESTS / TASKS {
                let (id, loads) = (random.usize(..KEYS), loads.clone());
                let load = move || async move {
                    loads.fetch_add(1, Ordering::Relaxed);
                    Ok::<_, Infallible>(org(id))
                };
                let org = cache.get_or_load(&keys[id], Policy::ttl(TTL), load).await.unwrap();
                assert_eq!(org.id, id);
            }
        }));
    }
    runtime.block_on(async {
        for task in started {
            task.await.unwrap();
        }
    });
    let took = start.elapsed().as_secs_f64();
    println!("\n{NODES} nodes × {REQUESTS} requests on {KEYS} keys: {took:.2} s");
    for (number, node) in nodes.iter().enumerate() {
        let (stats, tiers) = (node.stats(), node.tiers().tier_stats());
        println!(
            "  node {number}: near hits {}, far hits {}, far reads {}, loads {}",
            stats.local_hits, stats.remote_hits, tiers.far_reads, stats.loads
        );
    }
    let loads = loads.load(Ordering::Relaxed) as f64 / KEYS as f64;
    bounded("loads over the fleet / keys", loads, Bound::AtMost(1.0));
    bounded("loads over the fleet / keys", loads, Bound::AtLeast(1.0));
}
