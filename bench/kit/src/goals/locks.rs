//! Locks over Redis, directly and through the proxy, and in the process.

use super::Wanted;
use super::measured::{IN_PROCESS, Measured, PLACES, Reading, WAYS, ratio};
use crate::{Bound, Table};

const OURS: &str = "RedisConcurrencyService";
const POLLING: &str = "SET NX PX every 50 ms";
const RSLOCK: &str = "rslock 0.10";
const ROUND_TRIP: &str = "a round trip, GET";
const RATE: &str = "locks a second";

pub(super) fn wanted(run: Measured<'_>) -> Vec<Wanted> {
    let mut wanted = Vec::new();
    for place in PLACES {
        for way in WAYS {
            on_redis(run, place, way, &mut wanted);
        }
    }
    let mut add = |name: &str, bound, reading| wanted.push(Wanted::new(name, bound, reading));
    let cell = |id: &str, row: &str, column: &str| {
        run.table(IN_PROCESS, id)?.cell(row, column).map(Reading::of)
    };
    let idle = |row: &str, column: &str| cell("locks/idle", row, column);
    let (each, one) = ("ours, a process each", "ours, all in one process");
    let (attempts, all) = ("attempts a second and process", "commands a second and process");
    let most = Bound::AtMost(1.0);
    add("waiting, a process each: scripts a second", most, idle(each, attempts));
    add("waiting, all in one process: scripts a second", most, idle(one, attempts));
    add("waiting, a process each: commands a second, heartbeats too", most, idle(each, all));
    add("waiting, all in one process: commands a second, heartbeats too", most, idle(one, all));
    let local = run.table(IN_PROCESS, "locks/local").and_then(|table| {
        let rows = |name| table.rows.iter().find(|row| row.name == name);
        Reading::ratio(rows("with_lock")?, rows("tokio mutex in a map, never cleaned")?, "ns")
    });
    add("in process: with_lock / a tokio mutex in a map", Bound::AtMost(3.0), local);
    let gave_up = |column| cell("locks/gave up", "with_lock", column);
    let none = Bound::AtMost(0.0);
    add("in process: keys left by 1,000,000 callers who gave up", none, gave_up("keys left"));
    add("in process: MiB left by them", Bound::AtMost(1.0), gave_up("MiB more"));
    wanted
}

fn on_redis(run: Measured<'_>, place: &str, way: &str, wanted: &mut Vec<Wanted>) {
    let mut add = |name: &str, bound, reading| {
        wanted.push(Wanted::new(format!("{name}, {way}, {place}"), bound, reading));
    };
    let at = |what: &str| run.table(place, &format!("locks/{what}/{way}"));
    let times = |what, above: &str, below: &str| ratio(at(what)?, above, below, "p50 µs");
    let round_trips = |what, of: &str| times(what, of, ROUND_TRIP);
    let acquire = round_trips("free", &format!("acquire, {OURS}"));
    add("acquire / a round trip", Bound::AtMost(1.1), acquire);
    let release = round_trips("free", &format!("release, {OURS}"));
    add("release / a round trip", Bound::AtMost(1.1), release);
    add("hand-over / a round trip", Bound::AtMost(1.2), round_trips("hand-over", OURS));
    let bound = Bound::AtLeast(10.0);
    add("hand-over: polling / ours", bound, times("hand-over", POLLING, OURS));
    add("hand-over: rslock / ours", bound, times("hand-over", RSLOCK, OURS));
    let attempts = at("64").and_then(|table| table.cell(OURS, "attempts a lock"));
    add("attempts for a lock, 64 clients", Bound::AtMost(1.1), attempts.map(Reading::of));
    let fairness = at("16").and_then(|table| {
        Some(table.cell(OURS, "most by a client")? / table.cell(OURS, "least by a client")?)
    });
    let name = "most / least taken by a client, 16 clients";
    add(name, Bound::AtMost(1.2), fairness.map(Reading::of));
    for clients in ["16", "64"] {
        let name = format!("locks a second / the faster of the unfair, {clients} clients");
        add(&name, Bound::AtLeast(0.95), at(clients).and_then(of_the_ceiling));
    }
}

/// Our rate beside that of the faster of those who let each other overtake.
fn of_the_ceiling(table: &Table) -> Option<Reading> {
    let row = |name: &str| table.rows.iter().find(|row| row.name == name);
    let unfair = [row(POLLING)?, row(RSLOCK)?];
    let faster = unfair.into_iter().max_by(|one, two| {
        let rate = |row: &crate::Row| row.cells.get(RATE).copied().unwrap_or_default();
        rate(one).total_cmp(&rate(two))
    });
    Reading::ratio(row(OURS)?, faster?, RATE)
}
