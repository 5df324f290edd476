//! Locks in the process: a section under a free lock, 1,000 keys at random, one thread; and what a
//! million callers leave behind who have given up.

use std::hint::black_box;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};

use cache_bench_kit::{Contestant, Table, compete, resident};
use cache_concurrency::LocalConcurrencyService;
use cache_core::{ConcurrencyService, ConcurrencyServiceExt, LockOptions};

use crate::Bench;
use crate::peers::map::Map;
use crate::peers::map_removed::MapRemoved;

const KEYS: usize = 1_000;
const VISITS: usize = 200_000;
/// Who give up: so many at a time, so often.
const GIVE_UP: (usize, usize) = (1_000, 1_000);

pub(crate) fn run(bench: &Bench<'_>) {
    let keys: Vec<_> = (0..KEYS).map(|id| format!("org:{id:08}")).collect();
    let mut random = fastrand::Rng::with_seed(7);
    let visits: Vec<&str> = (0..VISITS).map(|_| keys[random.usize(..KEYS)].as_str()).collect();
    let (map, removed) = (Map::default(), MapRemoved::default());
    let local = LocalConcurrencyService::new();
    let dynamic: Arc<dyn ConcurrencyService> = Arc::new(local.clone());
    let options = LockOptions::default();
    let runtime = &bench.runtime;
    let contestants = vec![
        Contestant::new("tokio mutex in a map, never cleaned", || {
            runtime.block_on(async {
                for key in &visits {
                    black_box(map.with_lock(key, async { black_box(1) }).await);
                }
            });
        }),
        Contestant::new("tokio mutex in a map, removed after use", || {
            runtime.block_on(async {
                for key in &visits {
                    black_box(removed.with_lock(key, async { black_box(1) }).await);
                }
            });
        }),
        Contestant::new("with_lock", || {
            runtime.block_on(async {
                for key in &visits {
                    black_box(local.with_lock(key, async { black_box(1) }).await.unwrap());
                }
            });
        }),
        Contestant::new("with_lock, dyn ConcurrencyService", || {
            runtime.block_on(async {
                for key in &visits {
                    black_box(dynamic.with_lock(key, async { black_box(1) }).await.unwrap());
                }
            });
        }),
        Contestant::new("acquire and release", || {
            runtime.block_on(async {
                for key in &visits {
                    let guard = local.acquire(key, &options).await.unwrap();
                    black_box(guard).release().await.unwrap();
                }
            });
        }),
    ];
    let figures = compete(contestants, bench.rounds * 5, VISITS);
    let title = format!("A free lock in the process, {KEYS} keys at random, 1 thread");
    bench.record.table(Table::of_figures("locks/local", title, &figures));
    assert!(removed.is_empty() && local.is_empty());
    runtime.block_on(give_up(bench, &local));
}

/// Callers who wait and give up, each thousand for a key of its own.
async fn give_up(bench: &Bench<'_>, local: &LocalConcurrencyService) {
    let (at_a_time, times) = GIVE_UP;
    let options = LockOptions::default();
    let round = async |id: usize| {
        let key = format!("held:{id}");
        let held = local.acquire(&key, &options).await.unwrap();
        let mut waiting: Vec<Pin<Box<dyn Future<Output = _> + Send>>> = Vec::new();
        for _ in 0..at_a_time {
            let mut waiter: Pin<Box<_>> = local.acquire(&key, &options);
            assert!(waiter.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            waiting.push(waiter);
        }
        // From both ends, so that the middle of the queue is left as well.
        while let Some(last) = waiting.pop() {
            drop(last);
            drop((!waiting.is_empty()).then(|| waiting.swap_remove(0)));
        }
        held.release().await.unwrap();
    };
    for id in 0..10 {
        round(id).await;
    }
    let before = resident();
    for id in 0..times {
        round(id).await;
    }
    let after = resident();
    let title = format!("What {} callers who gave up have left", at_a_time * times);
    let mut table = Table::new("locks/gave up", title, &["MiB more", "keys left"]);
    table.row("with_lock", &[after - before, local.len() as f64].map(Some));
    bench.record.table(table);
}
