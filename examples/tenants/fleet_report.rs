//! The table of a run with several instances: what each part of it took between them and Redis.

use std::time::Duration;

use crate::fleet::{Counts, Fleet};
use crate::format::{count, duration};
use crate::measure::percentile;
use crate::propagation::Propagation;

/// A row's name and its counter.
type Row = (&'static str, fn(&Counts) -> u64);

const ROWS: [Row; 9] = [
    ("near hits", |counts| counts.cache.local_hits),
    ("far hits", |counts| counts.cache.remote_hits),
    ("misses", |counts| counts.cache.misses),
    ("coalesced", |counts| counts.cache.coalesced),
    ("loads", |counts| counts.cache.loads),
    ("fills refused", |counts| counts.cache.fills_refused),
    ("far reads", |counts| counts.far_reads),
    ("messages told", |counts| counts.told),
    ("messages heard", |counts| counts.heard),
];

/// The counters after each part of the run.
pub(crate) struct FleetReport {
    start: Counts,
    parts: Vec<(&'static str, Counts)>,
}

impl FleetReport {
    pub(crate) fn start(fleet: &Fleet) -> Self {
        Self { start: fleet.counts(), parts: Vec::new() }
    }

    /// What was counted since the part before goes into a column of this name.
    pub(crate) fn part(&mut self, name: &'static str, fleet: &Fleet) {
        self.parts.push((name, fleet.counts()));
    }

    pub(crate) fn print(&self, fleet: &Fleet, propagation: &Propagation) {
        println!("All {} instances together, in each part of the run:\n", fleet.len());
        let names: String = self.parts.iter().map(|(name, _)| format!("{name:>16}")).collect();
        println!("{:<18}{names}", "");
        for (name, counter) in ROWS {
            self.print_row(name, counter);
        }
        println!("\n{:<34}{:>10}{:>10}{:>10}", "since `invalidate` returned", "p50", "p99", "max");
        print_times("old value gone everywhere", &propagation.gone);
        print_times("new value read everywhere", &propagation.new);
        println!();
    }

    fn print_row(&self, name: &str, counter: fn(&Counts) -> u64) {
        print!("{name:<18}");
        let mut before = counter(&self.start);
        for (_, counts) in &self.parts {
            let after = counter(counts);
            print!("{:>16}", count(after - before));
            before = after;
        }
        println!();
    }
}

fn print_times(name: &str, ascending: &[Duration]) {
    let [p50, p99, max] = [0.5, 0.99, 1.0].map(|part| duration(percentile(ascending, part)));
    println!("{name:<34}{p50:>10}{p99:>10}{max:>10}");
}
