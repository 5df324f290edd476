//! What a section under a free lock in the process allocates.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use allocation_counter::measure;
use cache_bench_kit::Table;
use cache_concurrency::LocalConcurrencyService;
use cache_core::ConcurrencyServiceExt;

use crate::Bench;
use crate::lock_peers::map::Map;
use crate::lock_peers::map_removed::MapRemoved;

pub(crate) fn run(bench: &Bench) {
    let (map, removed) = (Map::default(), MapRemoved::default());
    let local = LocalConcurrencyService::new();
    let key = "org:00000007";
    let columns = ["allocations", "bytes"];
    let mut table = Table::new("locks/allocations", "Allocations of a free lock", &columns);
    let mut row = |name: &str, call: &dyn Fn()| {
        // What is allocated once is no part of it.
        call();
        let info = measure(call);
        table.row(name, &[info.count_total, info.bytes_total].map(|count| Some(count as f64)));
    };
    row("tokio mutex, never cleaned", &|| ready(map.with_lock(key, async {})));
    row("tokio mutex, removed after use", &|| ready(removed.with_lock(key, async {})));
    row("with_lock", &|| ready(local.with_lock(key, async {})).unwrap());
    bench.record.table(table);
    assert!(removed.is_empty() && local.is_empty());
}

fn ready<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    loop {
        let mut context = Context::from_waker(Waker::noop());
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
    }
}
