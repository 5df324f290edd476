//! A hit: 10,000 keys at random and 64 hot ones, small values and large, one thread and two.

use std::cell::OnceCell;

use cache_bench_kit::value::Size;
use cache_bench_kit::{Bound, Contestant, Table, compete};
use tokio::runtime::Runtime;

use crate::Bench;
use crate::peers::{Named, PEERS, Peer, Setting};

/// In one turn, by all threads. Who decodes takes its time over large values.
const VISITS: [(Size, usize); 2] = [(Size::Small, 100_000), (Size::Large, 20_000)];

pub(crate) fn run(bench: &Bench) {
    let url = bench.server.url();
    for (size, count) in VISITS {
        for keys in [10_000, 64] {
            let setting = Setting {
                keys,
                size,
                runtime: &bench.runtime,
                url: &url,
                hybrid: &OnceCell::new(),
            };
            let peers = PEERS.map(|(name, make)| (name, make(setting)));
            let mut random = fastrand::Rng::with_seed(7);
            let visits: Vec<usize> = (0..count).map(|_| random.usize(..keys)).collect();
            for threads in [1, 2] {
                table(bench, &peers, setting, &visits, threads);
            }
        }
    }
}

fn table(
    bench: &Bench,
    peers: &[Named<dyn Peer>],
    setting: Setting<'_>,
    visits: &[usize],
    threads: usize,
) {
    let Setting { keys, size, runtime, .. } = setting;
    let every: Vec<usize> = (0..keys).collect();
    let contestants = peers.iter().map(|(name, peer)| {
        let every = &every;
        let turn = move || {
            if threads == 1 { peer.hits(visits, runtime) } else { by_two(&**peer, visits, runtime) }
        };
        // What the turns of others drove out of the processor's caches is not what is compared.
        Contestant::new(name, turn).warmed(move || peer.hits(every, runtime))
    });
    let rounds = bench.arguments.rounds_or(7, 31);
    let figures = compete(contestants.collect(), rounds, visits.len());
    let in_words = if threads == 1 { "1 thread" } else { "2 threads" };
    let id = format!("near/{keys} keys/{}/{in_words}", size.name());
    let title = format!("Hit, {keys} keys at random, values of {}, {in_words}", size.name());
    let table = Table::of_figures(id, title, &figures);
    if (keys, size, threads) == (10_000, Size::Small, 1) {
        bench.record.table(table.with_bars("ns"));
        let ns = |name| figures.iter().find(|figure| figure.name == name).map(|found| found.median);
        let quick = ns("get_arc, hybrid").unwrap() / ns("get_arc, quick").unwrap();
        bench.record.bounded("get_arc, hybrid / quick", quick, Bound::AtMost(1.25));
    } else {
        bench.record.table(table);
    }
}

/// Each half of the visits in a thread of its own.
fn by_two(peer: &dyn Peer, visits: &[usize], runtime: &Runtime) {
    let (one, other) = visits.split_at(visits.len() / 2);
    std::thread::scope(|scope| {
        scope.spawn(|| peer.hits(one, runtime));
        peer.hits(other, runtime);
    });
}
