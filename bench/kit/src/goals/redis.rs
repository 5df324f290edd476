//! Reads from Redis: once on all cores, once with client and server on one.

use super::Wanted;
use super::measured::{Measured, PLACES, Reading, least, ratio, size};
use crate::{Bound, Table};

/// With as many connections as it has by itself. Raw redis-rs has the number that is best for it, beside
/// large values too.
const OURS: &str = "get, dyn CacheService";
const RAW: &str = "raw redis-rs";
const PEERS: [&str; 4] = ["fred", "cached", "hitbox", "multi-tier-cache"];
const IDS: [(&str, &str, Bound); 4] = [
    ("redis/1 task", "1 task", Bound::AtLeast(0.95)),
    ("redis/16 tasks", "16 tasks", Bound::AtLeast(0.95)),
    ("redis/64 tasks", "64 tasks", Bound::AtLeast(1.2)),
    ("redis/256 tasks", "256 tasks", Bound::AtLeast(1.8)),
];
const LARGE: [(&str, &str); 3] = [
    ("redis/large", "p99 of small reads beside 1-MiB reads"),
    ("redis/large/64 readers", "p99 of 64 readers with one 1-MiB key among theirs"),
    ("redis/large/256 readers", "p99 of 256 readers with one 1-MiB key among theirs"),
];

pub(super) fn wanted(run: Measured<'_>) -> Vec<Wanted> {
    PLACES.into_iter().flat_map(|place| at(run, place)).collect()
}

fn at(run: Measured<'_>, place: &str) -> Vec<Wanted> {
    let mut wanted = Vec::new();
    let mut add = |name: String, bound, reading| {
        wanted.push(Wanted::new(format!("Redis, {place}, {name}"), bound, reading));
    };
    let sized = |id: &str, bound, read: &dyn Fn(&Table) -> Option<Reading>| {
        run.worst(place, id, bound, |table| size(table, id).is_some(), read)
    };
    for (id, tasks, bound) in IDS {
        let reading = sized(id, bound, &|table| ratio(table, RAW, OURS, "µs"));
        add(format!("{tasks}: throughput / the best raw redis-rs"), bound, reading);
    }
    let bound = Bound::AtMost(1.08);
    let reading = sized("redis/1 task", bound, &|table| ratio(table, OURS, RAW, "µs"));
    add("sequential latency / raw redis-rs".to_owned(), bound, reading);
    for (id, tasks, _) in IDS {
        let bound = Bound::AtLeast(1.0);
        let reading = sized(id, bound, &|table| best_peer(table));
        add(format!("{tasks}: throughput / the best peer"), bound, reading);
    }
    for (id, name) in LARGE {
        let p99 = |table: &Table, name| least(table, name, "p99 µs")?.cells.get("p99 µs").copied();
        let small = |table: &Table| Some(p99(table, OURS)? / p99(table, RAW)?);
        let bound = Bound::AtMost(1.0);
        let reading = sized(id, bound, &|table| small(table).map(Reading::of));
        add(format!("{name} / the best raw redis-rs"), bound, reading);
    }
    wanted
}

/// Beside the fastest of all peers, all of whom must be there.
fn best_peer(table: &Table) -> Option<Reading> {
    let peers: Option<Vec<_>> = PEERS.iter().map(|peer| least(table, peer, "µs")).collect();
    let fastest = peers?.into_iter().min_by(|one, two| one.cells["µs"].total_cmp(&two.cells["µs"]));
    Reading::ratio(fastest?, least(table, OURS, "µs")?, "µs")
}
