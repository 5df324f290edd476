//! Accesses as they come: what is answered from memory, and how fast, on a generated Zipf and on recorded
//! traces.
//!
//! `cargo bench -p cache-bench --bench trace -- --trace FILE`: big-endian `u32` keys, one per access, plain
//! or xz; any number of them. Without `--full` only the first half million accesses of each.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark")]

mod peers;

use std::collections::HashMap;
use std::hint::black_box;
use std::process::ExitCode;

use cache_bench_kit::{
    Arguments, Contestant, Recorder, Table, Trace, TraceError, by_two, compete, optimum,
    with_sources, zipf,
};

use self::peers::{CACHES, HELD};

/// Hundredths of the number of different keys.
const CAPACITIES: [usize; 3] = [1, 5, 20];
/// At which it is timed.
const TIMED: usize = 5;
const KEYS: u32 = 100_000;
const SKEW: f64 = 0.9;
/// Accesses of a trace in a quick run.
const QUICK: usize = 500_000;
/// Those of them that are timed: quick, and full.
const TIMED_ACCESSES: (usize, usize) = (100_000, QUICK);

/// Below hit ratios.
const TUNED: &str = "\
Ours has one parameter that was chosen by traces like these, two of them among the reported ones: 0.85 of it is \
for what is hot. All others have their defaults, but that foyer has one shard in place of eight: with eight, \
small caches are cut into pieces of a few entries.";

fn main() -> ExitCode {
    let arguments = Arguments::of_this_process(&[], &[]);
    match traces(&arguments) {
        Ok(traces) => replayed(&arguments, traces),
        Err(error) => {
            #[allow(clippy::print_stderr, reason = "how a program says what it cannot do")]
            {
                eprintln!("{}", with_sources(&error));
            }
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// The generated one and those that were asked for.
fn traces(arguments: &Arguments) -> Result<Vec<Trace>, TraceError> {
    let count = arguments.choose(QUICK, 10 * QUICK);
    let name = format!("zipf-{SKEW}");
    let mut traces = vec![Trace { name, accesses: zipf(KEYS, SKEW, count, 7) }];
    for path in &arguments.traces {
        let mut trace = Trace::read(path)?;
        trace.call_apart(&traces);
        traces.push(trace);
    }
    Ok(traces)
}

fn replayed(arguments: &Arguments, traces: Vec<Trace>) {
    let record = Recorder::new("trace", arguments);
    for mut trace in traces {
        trace.accesses.truncate(arguments.choose(QUICK, usize::MAX));
        let replay = Replay::of(&trace);
        replay.hit_ratios(&record);
        for threads in [1, 2] {
            let count = arguments.choose(TIMED_ACCESSES.0, TIMED_ACCESSES.1);
            replay.times(&record, threads, count, arguments.rounds_or(3, 7));
        }
    }
    record.save();
}

/// A trace, made ready.
struct Replay<'a> {
    trace: &'a Trace,
    /// Numbers of keys, in order.
    accesses: Vec<usize>,
    keys: Vec<String>,
}

impl<'a> Replay<'a> {
    fn of(trace: &'a Trace) -> Self {
        let (mut numbers, mut keys) = (HashMap::new(), Vec::new());
        let mut number = |&key: &u32| {
            *numbers.entry(key).or_insert_with(|| {
                keys.push(format!("entity:{key:010}"));
                keys.len() - 1
            })
        };
        let accesses = trace.accesses.iter().map(&mut number).collect();
        Self { trace, accesses, keys }
    }

    fn capacity(&self, percent: usize) -> usize {
        (self.keys.len() * percent / 100).max(1)
    }

    fn hit_ratios(&self, record: &Recorder) {
        let capacities = CAPACITIES.map(|percent| self.capacity(percent));
        let columns = capacities.map(|capacity| format!("{capacity} entries, % hits"));
        let (name, accesses, keys) = (&self.trace.name, self.accesses.len(), self.keys.len());
        let title = format!("Hit ratio, {name}: {accesses} accesses of {keys} keys");
        let columns = columns.each_ref().map(String::as_str);
        let mut table = Table::new(format!("hit ratio/{name}"), title, &columns);
        let percent = |hits: usize| Some(hits as f64 * 100.0 / accesses as f64);
        for (name, make) in HELD {
            let hits = |capacity| percent(make(capacity).replay(&self.accesses, &self.keys));
            table.row(name, &capacities.map(hits));
        }
        let best = |capacity| percent(optimum(&self.trace.accesses, capacity));
        table.row("optimum (Bélády)", &capacities.map(best));
        record.table(table.with_note(TUNED));
    }

    fn times(&self, record: &Recorder, threads: usize, count: usize, rounds: usize) {
        let accesses = &self.accesses[..count.min(self.accesses.len())];
        let capacity = self.capacity(TIMED);
        let caches = CACHES.map(|(name, make)| (name, make(capacity)));
        let contestants = caches.iter().map(|(name, cache)| {
            let replay = |accesses: &[usize]| {
                black_box(cache.replay(accesses, &self.keys));
            };
            if threads == 1 {
                return Contestant::new(name, move || replay(accesses));
            }
            // Each half in a thread of its own.
            let (one, other) = accesses.split_at(accesses.len() / 2);
            Contestant::timing_itself(name, move || by_two(|| replay(one), || replay(other)))
        });
        let figures = compete(contestants.collect(), rounds, accesses.len());
        let in_words = if threads == 1 { "1 thread" } else { "2 threads" };
        let name = &self.trace.name;
        let title = format!("An access of {name}, {capacity} entries held, {in_words}");
        record.table(Table::of_figures(format!("trace/{name}/{in_words}"), title, &figures));
    }
}
