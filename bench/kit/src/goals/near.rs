//! In the memory of the process.

use super::Wanted;
use super::measured::{IN_PROCESS, Measured, Reading, most, ratio, size};
use crate::Bound;

/// Ours, whom most goals are about.
const OURS: &str = "get_arc, hybrid";
/// A hit as it is judged; the other numbers of keys and sizes stand beside it.
const HITS: &str = "near/10000 keys/1 thread";
const HITS_OF_TWO: &str = "near/10000 keys/2 threads";
const ALLOCATIONS: &str = "near/allocations";
const MEMORY: &str = "near/memory";
const OF_FOYER: &str = "raw foyer";

pub(super) fn wanted(run: Measured<'_>) -> Vec<Wanted> {
    let mut wanted: Vec<_> = [
        ("get_arc on the hybrid / raw quick_cache", Bound::AtMost(1.6), OURS, "raw quick_cache"),
        ("raw moka / get_arc", Bound::AtLeast(3.5), "raw moka", OURS),
        (
            "the fastest of cached's stores that expire / get_arc",
            Bound::AtLeast(1.5),
            "cached,",
            OURS,
        ),
        ("the fastest of all of cached's stores / get_arc", Bound::AtLeast(1.5), "cached", OURS),
        ("cachet / get_arc", Bound::AtLeast(5.0), "cachet", OURS),
        ("hitbox / get_arc", Bound::AtLeast(10.0), "hitbox", OURS),
        ("multi-tier-cache / get_arc", Bound::AtLeast(10.0), "multi-tier-cache", OURS),
        ("get_or_load / get_arc", Bound::AtMost(1.2), "get_or_load, hybrid", OURS),
        (
            "get_arc on the hybrid / on the quick backend",
            Bound::AtMost(1.25),
            OURS,
            "get_arc, quick",
        ),
    ]
    .into_iter()
    .map(|(name, bound, above, below)| {
        let reading = hits(run, HITS, bound, above, below);
        Wanted::new(format!("near hit: {name}"), bound, reading)
    })
    .collect();
    let bound = Bound::AtMost(0.0);
    let sized = |table: &crate::Table| size(table, ALLOCATIONS).is_some();
    let allocations = run.worst(IN_PROCESS, ALLOCATIONS, bound, sized, |table| {
        table.cell(OURS, "allocations").map(Reading::of)
    });
    wanted.push(Wanted::new("near hit: allocations of get_arc", bound, allocations));
    let name = "near hit: with metrics / without, get_arc or get_or_load";
    wanted.push(Wanted::new(name, Bound::AtMost(1.15), greatest(run, "near/instrumented")));
    let bound = Bound::AtLeast(0.75);
    let of_two = hits(run, HITS_OF_TWO, bound, "raw quick_cache", OURS);
    wanted.push(Wanted::new("2 threads: throughput / raw quick_cache's", bound, of_two));
    wanted.push(Wanted::new(
        "hit ratio: points behind the better of moka and foyer, at worst",
        Bound::AtMost(1.0),
        points_behind(run),
    ));
    wanted.extend(bytes(run));
    wanted.push(Wanted::new(
        "cost with 1,000,000 entries / with 1,000, of any operation",
        Bound::AtMost(1.5),
        greatest(run, "near/growth"),
    ));
    wanted
}

/// A ratio of hits, with the worst of the other numbers of keys and sizes by as many threads.
fn hits(run: Measured<'_>, id: &str, bound: Bound, above: &str, below: &str) -> Option<Reading> {
    let threads = id.rsplit('/').next()?;
    let among = format!(" keys/{threads}/");
    let other = |table: &crate::Table| table.id.starts_with("near/") && table.id.contains(&among);
    run.worst(IN_PROCESS, id, bound, other, |table| ratio(table, above, below, "ns"))
}

fn greatest(run: Measured<'_>, id: &str) -> Option<Reading> {
    most(run.table(IN_PROCESS, id)?, "×")
}

/// By what the raw engine holds that ours is compared with.
fn bytes(run: Measured<'_>) -> impl Iterator<Item = Wanted> {
    let of = [
        (
            "ours after set, encoded only / raw quick_cache holding as many encoded bytes",
            "ours, encoded",
            "raw quick_cache, encoded",
        ),
        (
            "ours after get_arc, encoded and decoded / raw quick_cache holding both",
            "ours, encoded and decoded",
            "raw quick_cache, encoded and decoded",
        ),
        (
            "ours after get_arc, encoded and decoded / raw quick_cache holding Arc<T> only",
            "ours, encoded and decoded",
            "raw quick_cache, decoded: Arc<T> only",
        ),
    ];
    of.into_iter().map(move |(name, ours, raw)| {
        let table = run.sized(IN_PROCESS, MEMORY);
        let above =
            table.and_then(|table| Some(table.cell(ours, "bytes")? - table.cell(raw, "bytes")?));
        let name = format!("bytes more per entry: {name}");
        Wanted::new(name, Bound::AtMost(96.0), above.map(Reading::of))
    })
}

/// How far ours is behind on the trace and at the capacity where it is furthest. What foyer has of
/// policies, the best of them counts.
fn points_behind(run: Measured<'_>) -> Option<Reading> {
    let traces = run.tables(IN_PROCESS).filter(|table| table.id.starts_with("hit ratio/"));
    let behind = |table: &crate::Table| {
        let at = |column: &String| {
            let of_foyer = table.rows.iter().filter(|row| row.name.starts_with(OF_FOYER));
            let of_foyer = of_foyer.filter_map(|row| row.cells.get(column).copied());
            let best = table.cell("raw moka", column)?.max(of_foyer.reduce(f64::max)?);
            Some(best - table.cell("ours, quick", column)?)
        };
        let points: Option<Vec<f64>> = table.columns.iter().map(at).collect();
        points?.into_iter().reduce(f64::max)
    };
    // A table without one of them makes the whole unknown.
    let points: Option<Vec<f64>> = traces.map(behind).collect();
    points?.into_iter().reduce(f64::max).map(Reading::of)
}
