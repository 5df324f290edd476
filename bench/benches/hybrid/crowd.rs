//! A crowd on one cold key: one load, and what each waiter costs the processor.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cache_bench::{Bound, Contestant, bounded, compete, report_with_cpu};
use cache_core::{CacheService, CacheServiceExt, Policy};
use tokio::sync::OnceCell;
use tokio::time::sleep;

use crate::Bench;
use crate::node::node;
use crate::value::{Org, TTL, key, org};

const CALLERS: usize = 1_000;
/// So long that all are waiting by then.
const LOAD: Duration = Duration::from_millis(20);

pub(crate) fn run(bench: &Bench) {
    let runtime = &bench.runtime;
    let hybrid = runtime.block_on(node(&bench.server.url()));
    let cache: Arc<dyn CacheService> = Arc::new(hybrid.clone());
    let (loads, mut turns) = (Arc::new(AtomicUsize::new(0)), 0);
    let contestants = vec![
        Contestant::new("tasks that wait for a tokio OnceCell", || {
            let cell = Arc::new(OnceCell::new());
            let call = || {
                let cell = Arc::clone(&cell);
                runtime.spawn(async move {
                    let load = || async {
                        sleep(LOAD).await;
                        Arc::new(org(7))
                    };
                    let org: Arc<Org> = Arc::clone(cell.get_or_init(load).await);
                    assert_eq!(org.id, 7);
                })
            };
            runtime.block_on(all((0..CALLERS).map(|_| call()).collect()));
        }),
        Contestant::new("tasks that call get_or_load, hybrid", || {
            turns += 1;
            let key: Arc<str> = key(turns).into();
            let call = || {
                let (cache, key, loads) =
                    (Arc::clone(&cache), Arc::clone(&key), Arc::clone(&loads));
                runtime.spawn(async move {
                    let load = move || async move {
                        loads.fetch_add(1, Ordering::Relaxed);
                        sleep(LOAD).await;
                        Ok::<_, Infallible>(org(7))
                    };
                    let org = cache.get_or_load(&key, Policy::ttl(TTL), load).await.unwrap();
                    assert_eq!(org.id, 7);
                })
            };
            runtime.block_on(all((0..CALLERS).map(|_| call()).collect()));
        }),
    ];
    let rounds = bench.rounds * 3;
    let figures = compete(contestants, rounds, CALLERS);
    report_with_cpu(
        &format!("{CALLERS} callers on a cold key, a load of {LOAD:?}, time per caller"),
        &figures,
    );
    let loads = loads.load(Ordering::Relaxed) as f64 / turns as f64;
    let coalesced = cache.stats().coalesced as f64 / turns as f64;
    println!("  callers who joined the load      {coalesced:.1} of {CALLERS}");
    bounded("loads", loads, Bound::AtMost(1.0));
    bounded("µs of processor per waiter", figures[1].cpu / 1e3, Bound::AtMost(3.0));
}

async fn all(started: Vec<tokio::task::JoinHandle<()>>) {
    for task in started {
        task.await.unwrap();
    }
}
