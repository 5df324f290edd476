//! The figures to reach, and whether a run has reached them.

use serde::{Deserialize, Serialize};

use crate::results::rounded;
use crate::{Bound, Results, Table};

/// A figure to reach, and what was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Goal {
    /// What it is.
    pub name: String,
    /// What was measured; nothing if the run was without it, which does not hold.
    pub measured: Option<f64>,
    /// What it may be.
    pub bound: Bound,
    /// Whether it was reached.
    pub holds: bool,
}

/// How a figure is had from what was measured.
type Measure = fn(&Measured<'_>) -> Option<f64>;
/// The same for one of the places.
type MeasureAt = fn(&Measured<'_>, &str) -> Option<f64>;

/// On the machine as it is, for what runs within one process.
const IN_PROCESS: &str = "all cores";
/// Ours, whom most goals are about.
const OURS: &str = "get_arc, hybrid";
const HITS: &str = "near/10000 keys/150 B/1 thread";
const HITS_OF_TWO: &str = "near/10000 keys/150 B/2 threads";
const REDIS_OURS: &str = "get, dyn CacheService";
const REDIS_RAW: &str = "raw redis-rs";

/// In process.
const NEAR: [(&str, Bound, Measure); 14] = [
    ("near hit: get_arc on the hybrid / raw quick_cache", Bound::AtMost(1.6), |run| {
        run.ratio(HITS, OURS, "raw quick_cache")
    }),
    ("near hit: raw moka / get_arc", Bound::AtLeast(3.5), |run| run.ratio(HITS, "raw moka", OURS)),
    ("near hit: the fastest of cached's stores / get_arc", Bound::AtLeast(1.5), |run| {
        run.ratio(HITS, "cached", OURS)
    }),
    ("near hit: cachet / get_arc", Bound::AtLeast(5.0), |run| run.ratio(HITS, "cachet", OURS)),
    ("near hit: hitbox / get_arc", Bound::AtLeast(10.0), |run| run.ratio(HITS, "hitbox", OURS)),
    ("near hit: multi-tier-cache / get_arc", Bound::AtLeast(10.0), |run| {
        run.ratio(HITS, "multi-tier-cache", OURS)
    }),
    ("near hit: allocations of get_arc", Bound::AtMost(0.0), |run| {
        run.least("near/allocations", OURS, "allocations")
    }),
    ("near hit: get_or_load / get_arc", Bound::AtMost(1.2), |run| {
        run.ratio(HITS, "get_or_load, hybrid", OURS)
    }),
    ("near hit: with metrics / without, get_arc or get_or_load", Bound::AtMost(1.15), |run| {
        run.most("near/instrumented", "×")
    }),
    ("2 threads: throughput / raw quick_cache's", Bound::AtLeast(0.75), |run| {
        run.ratio(HITS_OF_TWO, "raw quick_cache", OURS)
    }),
    (
        "hit ratio: points behind the better of moka and foyer, at worst",
        Bound::AtMost(1.0),
        |run| run.points_behind(),
    ),
    ("bytes per entry above raw quick_cache, encoded", Bound::AtMost(96.0), |run| {
        run.bytes_above("ours, encoded", "raw quick_cache, encoded")
    }),
    ("bytes per entry above raw quick_cache, encoded and decoded", Bound::AtMost(96.0), |run| {
        run.bytes_above("ours, encoded and decoded", "raw quick_cache, encoded and decoded")
    }),
    ("cost with 1,000,000 entries / with 1,000, of any operation", Bound::AtMost(1.5), |run| {
        run.most("near/growth", "×")
    }),
];

/// On Redis: once on all cores, once with client and server on one.
const REDIS: [(&str, Bound, MeasureAt); 7] = [
    ("1 task: throughput / the best raw redis-rs", Bound::AtLeast(0.95), |run, place| {
        run.redis(place, "redis/1 task", REDIS_RAW)
    }),
    ("16 tasks: throughput / the best raw redis-rs", Bound::AtLeast(0.95), |run, place| {
        run.redis(place, "redis/16 tasks", REDIS_RAW)
    }),
    ("64 tasks: throughput / the best raw redis-rs", Bound::AtLeast(1.2), |run, place| {
        run.redis(place, "redis/64 tasks", REDIS_RAW)
    }),
    ("256 tasks: throughput / the best raw redis-rs", Bound::AtLeast(1.8), |run, place| {
        run.redis(place, "redis/256 tasks", REDIS_RAW)
    }),
    ("sequential latency / raw redis-rs", Bound::AtMost(1.08), |run, place| {
        Some(1.0 / run.redis(place, "redis/1 task", REDIS_RAW)?)
    }),
    ("throughput / the best peer, at 1, 16, 64 or 256 tasks", Bound::AtLeast(1.0), |run, place| {
        let ids = ["redis/1 task", "redis/16 tasks", "redis/64 tasks", "redis/256 tasks"];
        let peers = ["fred", "cached", "hitbox", "multi-tier-cache"];
        let pairs = ids.into_iter().flat_map(|id| peers.map(|peer| (id, peer)));
        let ratios: Option<Vec<_>> = pairs.map(|(id, peer)| run.redis(place, id, peer)).collect();
        ratios?.into_iter().reduce(f64::min)
    }),
    (
        "p99 of small reads beside 1-MiB reads / raw redis-rs on one connection",
        Bound::AtMost(1.0),
        |run, place| {
            let small = |name| run.table(place, "redis/large")?.cell(name, "p99 µs");
            Some(small(REDIS_OURS)? / small("raw redis-rs, 1 connection")?)
        },
    ),
];

/// All figures to reach, judged by what the programs have handed on.
#[must_use]
pub fn judge(results: &[Results]) -> Vec<Goal> {
    let run = Measured(results);
    let near =
        NEAR.iter().map(|(name, bound, measure)| goal((*name).to_owned(), *bound, measure(&run)));
    let redis = ["all cores", "one core"].into_iter().flat_map(|place| {
        REDIS.iter().map(move |(name, bound, measure)| {
            goal(format!("Redis, {place}, {name}"), *bound, measure(&run, place))
        })
    });
    near.chain(redis).collect()
}

fn goal(name: String, bound: Bound, measured: Option<f64>) -> Goal {
    let measured = measured.and_then(rounded);
    Goal { name, measured, bound, holds: measured.is_some_and(|measured| bound.holds(measured)) }
}

/// What the programs have handed on.
#[derive(Clone, Copy)]
struct Measured<'a>(&'a [Results]);

impl Measured<'_> {
    fn table(&self, place: &str, id: &str) -> Option<&Table> {
        let here = self.0.iter().filter(|results| results.place == place);
        here.flat_map(|results| &results.tables).find(|table| table.id == id)
    }

    /// The least figure of the rows whose names begin with `name`.
    fn least(&self, id: &str, name: &str, column: &str) -> Option<f64> {
        least(self.table(IN_PROCESS, id)?, name, column)
    }

    /// The greatest figure of a column.
    fn most(&self, id: &str, column: &str) -> Option<f64> {
        let rows = &self.table(IN_PROCESS, id)?.rows;
        rows.iter().filter_map(|row| row.cells.get(column).copied()).reduce(f64::max)
    }

    /// What `above` takes for each nanosecond that `below` takes; of several with such names, the
    /// fastest.
    fn ratio(&self, id: &str, above: &str, below: &str) -> Option<f64> {
        Some(self.least(id, above, "ns")? / self.least(id, below, "ns")?)
    }

    /// Our throughput beside that of the fastest whose names begin with `name`.
    fn redis(&self, place: &str, id: &str, name: &str) -> Option<f64> {
        let table = self.table(place, id)?;
        Some(least(table, name, "µs")? / table.cell(REDIS_OURS, "µs")?)
    }

    fn bytes_above(&self, ours: &str, raw: &str) -> Option<f64> {
        let bytes = |name| self.table(IN_PROCESS, "near/memory")?.cell(name, "bytes");
        Some(bytes(ours)? - bytes(raw)?)
    }

    /// How far ours is behind on the trace and at the capacity where it is furthest.
    fn points_behind(&self) -> Option<f64> {
        let here = self.0.iter().filter(|results| results.place == IN_PROCESS);
        let traces = here.flat_map(|results| &results.tables);
        let traces = traces.filter(|table| table.id.starts_with("hit ratio/"));
        let behind = |table: &Table| {
            let at = |column: &String| {
                let cell = |name| table.cell(name, column);
                Some(cell("raw moka")?.max(cell("raw foyer, S3-FIFO")?) - cell("ours, quick")?)
            };
            let points: Option<Vec<f64>> = table.columns.iter().map(at).collect();
            points?.into_iter().reduce(f64::max)
        };
        // A table without one of them makes the whole unknown.
        let points: Option<Vec<f64>> = traces.map(behind).collect();
        points?.into_iter().reduce(f64::max)
    }
}

fn least(table: &Table, name: &str, column: &str) -> Option<f64> {
    let rows = table.rows.iter().filter(|row| row.name.starts_with(name));
    rows.filter_map(|row| row.cells.get(column).copied()).reduce(f64::min)
}
