//! The near tier before Redis, and the fleet.

use super::Wanted;
use super::measured::{IN_PROCESS, Measured, PLACES, Reading, WAYS, most, ratio};
use crate::Bound;

const OURS: &str = "get_or_load, hybrid";
const TOLD: &str = "invalidate until gone from B";
const ROUND_TRIP: &str = "raw round trip: GET";

pub(super) fn wanted(run: Measured<'_>) -> Vec<Wanted> {
    let mut wanted = Vec::new();
    let mut add = |name: String, bound, reading| wanted.push(Wanted::new(name, bound, reading));
    let cell = |id: &str, row: &str, column: &str| {
        run.table(IN_PROCESS, id)?.cell(row, column).map(Reading::of)
    };
    add(
        "miss: round trips".to_owned(),
        Bound::AtMost(3.0),
        cell("hybrid/round trips", OURS, "round trips"),
    );
    for place in PLACES {
        for way in WAYS {
            let table = run.table(place, &format!("hybrid/miss/{way}"));
            let reading = table
                .and_then(|table| ratio(table, OURS, "raw redis-rs, GET + our two scripts", "µs"));
            let name = format!("miss / three raw round trips, {way}, {place}");
            add(name, Bound::AtMost(1.15), reading);
        }
    }
    let crowds = run.tables(IN_PROCESS).filter(|table| table.id.starts_with("stampede/"));
    let loads = crowds.map(|table| table.cell(OURS, "loads per key"));
    let loads: Option<Vec<f64>> = loads.collect();
    let at_worst = loads.and_then(|loads| loads.into_iter().reduce(f64::max)).map(Reading::of);
    add("stampede: loads per key, at worst".to_owned(), Bound::AtMost(1.0), at_worst);
    let waiter = cell("stampede/1000 × 1", OURS, "client CPU µs per caller");
    let name = "stampede: CPU µs per waiter, 1,000 callers on one cold key";
    add(name.to_owned(), Bound::AtMost(3.0), waiter);
    for place in PLACES {
        for way in WAYS {
            let table = run.table(place, &format!("hybrid/invalidation/{way}"));
            let reading = table.and_then(|table| ratio(table, TOLD, ROUND_TRIP, "p50 µs"));
            let name = format!("invalidation: p50 / a round trip, {way}, {place}");
            add(name, Bound::AtMost(1.5), reading);
            let p99 = table.and_then(|table| table.cell(TOLD, "p99 µs"));
            let reading = p99.map(|micros| Reading::of(micros / 1e3));
            add(format!("invalidation: p99, ms, {way}, {place}"), Bound::AtMost(5.0), reading);
        }
    }
    let fleet = run.table(IN_PROCESS, "fleet/loads");
    let per_key = fleet.and_then(|table| most(table, "loads per key"));
    add("fleet: loads / keys".to_owned(), Bound::AtMost(1.0), per_key);
    wanted
}
