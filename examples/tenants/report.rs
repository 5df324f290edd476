//! The table: what the lookups cost without the cache and with it.

use cache_services::CacheStats;

use crate::database::CONNECTIONS;
use crate::format::{count, duration};
use crate::measure::{Measured, TASKS};

/// `stats` are the cache's after the run with it.
pub(crate) fn print(without: &Measured, with: &Measured, stats: &CacheStats) {
    let none = || "–".to_owned();
    let per_second = |run: &Measured| format!("{} /s", count(run.per_second() as u64));
    let percentile = |run: &Measured, part| duration(run.percentile(part));
    let hits = format!("{:.2} %", stats.hit_ratio() * 100.0);
    let rows = [
        ("lookups", count(without.lookups()), count(with.lookups())),
        ("database queries", count(without.queries), count(with.queries)),
        ("hit ratio", none(), hits),
        ("coalesced", none(), count(stats.coalesced)),
        ("p50", percentile(without, 0.50), percentile(with, 0.50)),
        ("p95", percentile(without, 0.95), percentile(with, 0.95)),
        ("p99", percentile(without, 0.99), percentile(with, 0.99)),
        ("throughput", per_second(without), per_second(with)),
    ];
    println!("{:<18}{:>16}{:>16}", "", "without cache", "with cache");
    for (name, without, with) in rows {
        println!("{name:<18}{without:>16}{with:>16}");
    }
    println!();
    if without.lookups() < with.lookups() {
        let lookups = count(without.lookups());
        println!("The run without cache makes only the first {lookups} of the same lookups.");
    }
    println!(
        "Times include waiting for one of the {CONNECTIONS} connections that the {TASKS} tasks share."
    );
    println!("Coalesced lookups found nothing cached and shared a load that was under way.");
}
