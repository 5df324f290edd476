//! Writes, alone and among reads, and with removals: what wears counters out.

use std::cell::OnceCell;

use cache_bench_kit::value::Size;
use cache_bench_kit::{Contestant, Table, by_two, compete};

use crate::Bench;
use crate::peers::{Named, Setting, Step, WRITERS, Writer};

const KEYS: usize = 1_000;
/// In one turn, by all threads.
const STEPS: usize = 100_000;

/// Of a hundred steps.
struct Mix {
    name: &'static str,
    sets: usize,
    removals: usize,
}

const MIXES: [Mix; 3] = [
    Mix { name: "sets only", sets: 100, removals: 0 },
    Mix { name: "95 % gets, 5 % sets", sets: 5, removals: 0 },
    Mix { name: "80 % gets, 10 % sets, 10 % removals", sets: 10, removals: 10 },
];

pub(crate) fn run(bench: &Bench) {
    for size in bench.arguments.sizes_or(&[Size::SMALL]) {
        of_size(bench, size);
    }
}

fn of_size(bench: &Bench, size: Size) {
    let (runtime, url) = (&bench.runtime, bench.server.url());
    let setting = Setting { keys: KEYS, size, runtime, url: &url, hybrid: &OnceCell::new() };
    let writers = WRITERS.map(|(name, make)| (name, make(setting)));
    for mix in MIXES {
        let steps = steps(&mix);
        for threads in [1, 2] {
            let contestants = writers.iter().map(|(name, writer)| {
                let steps = &steps;
                if threads == 1 {
                    return Contestant::new(name, move || writer.run(steps, runtime));
                }
                // Each half in a thread of its own.
                let (one, other) = steps.split_at(steps.len() / 2);
                let turn = || by_two(|| writer.run(one, runtime), || writer.run(other, runtime));
                Contestant::timing_itself(name, turn)
            });
            let rounds = bench.arguments.rounds_or(4, 15);
            let figures = compete(contestants.collect(), rounds, STEPS);
            let in_words = if threads == 1 { "1 thread" } else { "2 threads" };
            let (mix, size) = (mix.name, size.name());
            let id = format!("near/writes/{mix}/{in_words}/{size}");
            let title = format!("{mix}, {KEYS} keys, values of {size}, {in_words}");
            bench.record.table(Table::of_figures(id, title, &figures));
        }
    }
    drift(bench, &writers, size);
}

/// What each says it holds beside what it holds, after all that.
fn drift(bench: &Bench, writers: &[Named<dyn Writer>], size: Size) {
    let size = size.name();
    let title = format!("Entries of {size} after it: those it counts, and those that are there");
    let mut table = Table::new(format!("near/drift/{size}"), title, &["counted", "there"]);
    for (name, writer) in writers {
        let (counted, there) = writer.entries(&bench.runtime);
        table.row(*name, &[Some(counted as f64), Some(there as f64)]);
    }
    bench.record.table(table);
}

fn steps(mix: &Mix) -> Vec<Step> {
    let mut random = fastrand::Rng::with_seed(7);
    let step = |_| {
        let (id, chance) = (random.usize(..KEYS), random.usize(..100));
        match chance {
            _ if chance < mix.sets => Step::Set(id),
            _ if chance < mix.sets + mix.removals => Step::Remove(id),
            _ => Step::Get(id),
        }
    };
    (0..STEPS).map(step).collect()
}
