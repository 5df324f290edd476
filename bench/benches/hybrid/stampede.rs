//! Crowds on cold keys: how often the value is loaded, and what each waiter costs the processor.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cache_bench_kit::value::key;
use cache_bench_kit::{Contestant, Table, compete};
use cache_core::CacheService;
use cache_quick::QuickCacheService;
use tokio::runtime::Runtime;

use crate::Bench;
use crate::crowds::Crowd;
use crate::crowds::cachet::Cachet;
use crate::crowds::moka::Moka;
use crate::crowds::multi_tier_cache::MultiTierCache;
use crate::crowds::once_cell::OnceCell;
use crate::crowds::ours::Ours;
use crate::node::node;

/// Callers for each key, and keys.
const CROWDS: [(usize, usize); 5] = [(10, 1), (100, 1), (1_000, 1), (10_000, 1), (100, 100)];
const CAPACITY: u64 = 100_000;

pub(crate) fn run(bench: &Bench) {
    let (runtime, server) = bench.start();
    let hybrid = runtime.block_on(node(&server.url()));
    let quick = QuickCacheService::builder().max_capacity(CAPACITY).build();
    let dynamic = |cache: Arc<dyn CacheService>| Arc::new(Ours(cache));
    let (hybrid, quick) = (dynamic(Arc::new(hybrid)), dynamic(Arc::new(quick)));
    let once_cell = Arc::new(OnceCell::default());
    let moka = Arc::new(Moka::new(CAPACITY));
    let cachet = Arc::new(runtime.block_on(async { Cachet::new() }));
    let multi_tier = runtime.block_on(MultiTierCache::new(&server.url(), CAPACITY));
    let multi_tier = Arc::new(multi_tier);
    // No key is cold twice.
    let turn = Cell::new(0);
    for (callers, keys) in CROWDS {
        let loads: [Arc<AtomicUsize>; 6] = Default::default();
        let come = Come { runtime: &runtime, callers, keys, turn: &turn };
        let contestants = vec![
            come.crowd("tokio OnceCell by hand", &once_cell, &loads[0]),
            come.crowd("get_or_load, hybrid", &hybrid, &loads[1]),
            come.crowd("get_or_load, quick", &quick, &loads[2]),
            come.crowd("moka, get_with", &moka, &loads[3]),
            come.crowd("cachet, stampede protection", &cachet, &loads[4]),
            come.crowd("multi-tier-cache, get_or_compute_typed", &multi_tier, &loads[5]),
        ];
        let rounds = bench.rounds;
        let figures = compete(contestants, rounds, callers * keys);
        let columns = ["loads per key", "client CPU µs per caller", "µs per caller"];
        let title = format!("{callers} callers on each of {keys} cold keys, a load of 20 ms");
        let id = format!("stampede/{callers} × {keys}");
        let mut table = Table::new(id, title, &columns);
        for (figure, loads) in figures.iter().zip(&loads) {
            // One round does not count, but loads.
            let loads = loads.load(Ordering::Relaxed) as f64 / ((rounds + 1) * keys) as f64;
            table.row(&figure.name, &[loads, figure.cpu / 1e3, figure.median / 1e3].map(Some));
        }
        bench.record.table(table);
    }
}

/// How a crowd comes.
#[derive(Clone, Copy)]
struct Come<'a> {
    runtime: &'a Runtime,
    callers: usize,
    keys: usize,
    turn: &'a Cell<usize>,
}

impl<'a> Come<'a> {
    fn crowd<C: Crowd>(
        self,
        name: &'a str,
        crowd: &'a Arc<C>,
        loads: &'a Arc<AtomicUsize>,
    ) -> Contestant<'a> {
        Contestant::new(name, move || {
            let first = self.turn.replace(self.turn.get() + self.keys);
            let call = |caller: usize| {
                let (crowd, loads) = (Arc::clone(crowd), Arc::clone(loads));
                let key = key(first + caller % self.keys);
                self.runtime.spawn(async move {
                    assert_eq!(crowd.call(&key, &loads).await.id, 7);
                })
            };
            let started: Vec<_> = (0..self.callers * self.keys).map(call).collect();
            self.runtime.block_on(async {
                for task in started {
                    task.await.unwrap();
                }
            });
        })
    }
}
