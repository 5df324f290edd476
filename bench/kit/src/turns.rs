//! Contestants that take turns.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::{Orders, Spread};

/// One of several ways to do the same thing.
pub struct Contestant<'a> {
    name: &'a str,
    /// Says how long it took, where that is not from its beginning to its end.
    turn: Box<dyn FnMut() -> Option<Duration> + 'a>,
    warm_up: Option<Box<dyn FnMut() + 'a>>,
    seconds: Vec<f64>,
    /// Of the processor, in all threads.
    cpu_seconds: Vec<f64>,
}

impl<'a> Contestant<'a> {
    /// `turn` does the work of one turn.
    pub fn new(name: &'a str, mut turn: impl FnMut() + 'a) -> Self {
        Self::of(name, move || {
            turn();
            None
        })
    }

    /// `turn` does the work of one turn and says how long that took.
    pub fn timing_itself(name: &'a str, mut turn: impl FnMut() -> Duration + 'a) -> Self {
        Self::of(name, move || Some(turn()))
    }

    fn of(name: &'a str, turn: impl FnMut() -> Option<Duration> + 'a) -> Self {
        let (turn, warm_up) = (Box::new(turn), None);
        Self { name, turn, warm_up, seconds: Vec::new(), cpu_seconds: Vec::new() }
    }

    /// Does `warm_up` before each turn; that is not counted.
    #[must_use]
    pub fn warmed(self, warm_up: impl FnMut() + 'a) -> Self {
        Self { warm_up: Some(Box::new(warm_up)), ..self }
    }
}

impl std::fmt::Debug for Contestant<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Contestant").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What a contestant's turns took per operation.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Figure {
    /// Whose.
    pub name: String,
    /// Nanoseconds per operation: the median turn.
    pub median: f64,
    /// The fastest turn.
    pub min: f64,
    /// The slowest turn.
    pub max: f64,
    /// Nanoseconds of processor time per operation, in all threads of this process: the median
    /// turn.
    pub cpu: f64,
    /// Nanoseconds per operation in each turn, in order.
    pub turns: Vec<f64>,
}

impl Figure {
    /// That of one contestant, of what it took in each of several processes: each begins with a heap of
    /// its own, and where things lie in memory makes a difference that no number of turns levels out.
    #[must_use]
    pub fn of_processes(each: &[Self]) -> Self {
        let Some(first) = each.first() else { return Self::default() };
        let turns: Vec<f64> = each.iter().map(|figure| figure.median).collect();
        Self {
            name: first.name.clone(),
            median: Spread::of(turns.iter().copied()).median,
            min: Spread::of(each.iter().map(|figure| figure.min)).min,
            max: Spread::of(each.iter().map(|figure| figure.max)).max,
            cpu: Spread::of(each.iter().map(|figure| figure.cpu)).median,
            turns,
        }
    }
}

/// Lets the contestants take turns for `rounds` rounds, after one that does not count. Each round has an
/// order of its own.
pub fn compete(
    mut contestants: Vec<Contestant<'_>>,
    rounds: usize,
    operations: usize,
) -> Vec<Figure> {
    let mut orders = Orders::of(contestants.len());
    for round in 0..=rounds {
        for &at in orders.round() {
            let contestant = &mut contestants[at];
            if let Some(warm_up) = &mut contestant.warm_up {
                warm_up();
            }
            let (start, cpu_start) = (Instant::now(), cpu_seconds());
            let took = (contestant.turn)().unwrap_or_else(|| start.elapsed());
            let (seconds, cpu) = (took.as_secs_f64(), cpu_seconds() - cpu_start);
            if round > 0 {
                contestant.seconds.push(seconds);
                contestant.cpu_seconds.push(cpu);
            }
        }
    }
    contestants.into_iter().map(|contestant| figure(&contestant, operations)).collect()
}

fn figure(contestant: &Contestant<'_>, operations: usize) -> Figure {
    let per_operation = 1e9 / operations as f64;
    let turns: Vec<f64> =
        contestant.seconds.iter().map(|seconds| seconds * per_operation).collect();
    let cpu = Spread::of(contestant.cpu_seconds.iter().map(|seconds| seconds * per_operation));
    let Spread { median, min, max } = Spread::of(turns.iter().copied());
    Figure { name: contestant.name.to_owned(), median, min, max, cpu: cpu.median, turns }
}

/// Does `one` in a thread of its own while this one does `other`: how long it took until both were done,
/// from the moment at which both were ready. Starting the thread is no part of that.
pub fn by_two(one: impl FnOnce() + Send, other: impl FnOnce()) -> Duration {
    let ready = AtomicUsize::new(0);
    // Nobody sleeps until the other comes: it would have to be woken.
    let meet = || {
        ready.fetch_add(1, Ordering::AcqRel);
        while ready.load(Ordering::Acquire) < 2 {
            spin_loop();
        }
        Instant::now()
    };
    std::thread::scope(|scope| {
        let one = scope.spawn(|| {
            let start = meet();
            one();
            (start, Instant::now())
        });
        let start = meet();
        other();
        let done = Instant::now();
        let one = one.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        one.1.max(done) - one.0.min(start)
    })
}

/// Of the processor, by all threads of this process so far.
#[must_use]
pub fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
