//! What the benchmarks share: contestants that take turns, medians, ratios.
//!
//! The machines are shared and noisy, so figures are compared only within one run: every
//! contestant gets one short turn per round, and what is reported is the median over the rounds.

#![allow(clippy::print_stdout, reason = "a benchmark reports on standard output")]

use std::fmt::Write as _;
use std::time::Instant;

/// One of several ways to do the same thing.
pub struct Contestant<'a> {
    name: &'a str,
    turn: Box<dyn FnMut() + 'a>,
    seconds: Vec<f64>,
}

impl<'a> Contestant<'a> {
    /// `turn` does the work of one turn.
    pub fn new(name: &'a str, turn: impl FnMut() + 'a) -> Self {
        Self { name, turn: Box::new(turn), seconds: Vec::new() }
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
}

/// Lets the contestants take turns for `rounds` rounds, after one that does not count.
pub fn compete(
    mut contestants: Vec<Contestant<'_>>,
    rounds: usize,
    operations: usize,
) -> Vec<Figure> {
    for round in 0..=rounds {
        for contestant in &mut contestants {
            let start = Instant::now();
            (contestant.turn)();
            let seconds = start.elapsed().as_secs_f64();
            if round > 0 {
                contestant.seconds.push(seconds);
            }
        }
    }
    contestants.into_iter().map(|contestant| figure(contestant, operations)).collect()
}

fn figure(mut contestant: Contestant<'_>, operations: usize) -> Figure {
    let nanos = |seconds: f64| seconds * 1e9 / operations as f64;
    contestant.seconds.sort_by(f64::total_cmp);
    let turns = &contestant.seconds;
    Figure {
        name: contestant.name.to_owned(),
        median: nanos(turns[turns.len() / 2]),
        min: nanos(turns[0]),
        max: nanos(turns[turns.len() - 1]),
    }
}

/// Prints `figures`, each beside the first as a ratio.
pub fn report(title: &str, figures: &[Figure]) {
    let mut table = format!("\n{title}\n");
    for figure in figures {
        let ratio = figure.median / figures[0].median;
        let Figure { name, median, min, max } = figure;
        // Writing to a String cannot fail.
        let _ =
            writeln!(table, "  {name:<44} {median:>8.1} ns  ({min:.1}–{max:.1})  {ratio:>6.2} ×");
    }
    println!("{table}");
}
