//! What the benchmarks share: contestants that take turns, medians, ratios.
//!
//! The machines are shared and noisy, so figures are compared only within one run: every
//! contestant gets one short turn per round, and what is reported is the median over the rounds.

#![allow(clippy::print_stdout, reason = "a benchmark reports on standard output")]

use std::fmt::Write as _;
use std::process::Command;
use std::time::Instant;

use rustix::time::{ClockId, clock_gettime};

mod times;

pub use times::Times;

/// One of several ways to do the same thing.
pub struct Contestant<'a> {
    name: &'a str,
    turn: Box<dyn FnMut() + 'a>,
    seconds: Vec<f64>,
    /// Of the processor, in all threads.
    cpu_seconds: Vec<f64>,
}

impl<'a> Contestant<'a> {
    /// `turn` does the work of one turn.
    pub fn new(name: &'a str, turn: impl FnMut() + 'a) -> Self {
        Self { name, turn: Box::new(turn), seconds: Vec::new(), cpu_seconds: Vec::new() }
    }
}

impl std::fmt::Debug for Contestant<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Contestant").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What a contestant's turns took per operation.
#[derive(Clone, Debug)]
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
}

/// Lets the contestants take turns for `rounds` rounds, after one that does not count.
pub fn compete(
    mut contestants: Vec<Contestant<'_>>,
    rounds: usize,
    operations: usize,
) -> Vec<Figure> {
    for round in 0..=rounds {
        for contestant in &mut contestants {
            let (start, cpu_start) = (Instant::now(), cpu_seconds());
            (contestant.turn)();
            let (seconds, cpu) = (start.elapsed().as_secs_f64(), cpu_seconds() - cpu_start);
            if round > 0 {
                contestant.seconds.push(seconds);
                contestant.cpu_seconds.push(cpu);
            }
        }
    }
    contestants.into_iter().map(|contestant| figure(contestant, operations)).collect()
}

fn figure(mut contestant: Contestant<'_>, operations: usize) -> Figure {
    let nanos = |seconds: f64| seconds * 1e9 / operations as f64;
    contestant.seconds.sort_by(f64::total_cmp);
    contestant.cpu_seconds.sort_by(f64::total_cmp);
    let (turns, cpu) = (&contestant.seconds, &contestant.cpu_seconds);
    Figure {
        name: contestant.name.to_owned(),
        median: nanos(turns[turns.len() / 2]),
        min: nanos(turns[0]),
        max: nanos(turns[turns.len() - 1]),
        cpu: nanos(cpu[cpu.len() / 2]),
    }
}

fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Prints `figures`, each beside the first as a ratio.
pub fn report(title: &str, figures: &[Figure]) {
    let mut table = format!("\n{title}\n");
    for figure in figures {
        let ratio = figure.median / figures[0].median;
        let Figure { name, median, min, max, .. } = figure;
        // Writing to a String cannot fail.
        let _ =
            writeln!(table, "  {name:<44} {median:>8.1} ns  ({min:.1}–{max:.1})  {ratio:>6.2} ×");
    }
    println!("{table}");
}

/// Prints `figures` in microseconds with the processor's share, each beside the first as a ratio:
/// for what waits for a server.
pub fn report_with_cpu(title: &str, figures: &[Figure]) {
    let mut table = format!("\n{title}\n");
    for figure in figures {
        let ratio = figure.median / figures[0].median;
        let [median, min, max, cpu] =
            [figure.median, figure.min, figure.max, figure.cpu].map(|nanos| nanos / 1e3);
        // Writing to a String cannot fail.
        let _ = writeln!(
            table,
            "  {:<34} {median:>7.2} µs  ({min:.2}–{max:.2})  {ratio:>5.2} ×   client CPU {cpu:>6.2} µs",
            figure.name,
        );
    }
    println!("{table}");
}

/// What a measured value may be.
#[derive(Clone, Copy, Debug)]
pub enum Bound {
    /// So much or less.
    AtMost(f64),
    /// So much or more.
    AtLeast(f64),
}

/// Prints whether `value` keeps to `bound`.
pub fn bounded(what: &str, value: f64, bound: Bound) {
    let (sign, limit, holds) = match bound {
        Bound::AtMost(limit) => ("≤", limit, value <= limit),
        Bound::AtLeast(limit) => ("≥", limit, value >= limit),
    };
    let verdict = if holds { "holds" } else { "MISSED" };
    println!("  {what:<32} {value:>5.2}   bound {sign} {limit:.2}: {verdict}");
}

/// Runs this program again with `arguments`, on one core with all that it starts.
///
/// # Panics
///
/// If that run fails.
pub fn run_on_one_core(arguments: &[&str]) {
    let Ok(program) = std::env::current_exe() else { return };
    let mut taskset = Command::new("taskset");
    taskset.args(["-c", "0"]).arg(program).args(arguments);
    match taskset.status() {
        Ok(status) => assert!(status.success(), "the pinned run failed"),
        Err(error) => println!("no run on one core: taskset: {error}"),
    }
}
