//! What the figures are called. `docs/observability.md` says the same for people, and a test holds
//! the two together.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// Upper bounds in seconds for histograms of the durations that are published, from 100 ns to 10 s:
/// for `PrometheusBuilder::set_buckets`. Counts at these bounds are exact.
///
/// ```
/// assert!(cache_services::DURATION_BUCKETS.is_sorted());
/// assert!(cache_services::DURATION_BUCKETS.contains(&0.01), "what the alerts ask for");
/// ```
pub const DURATION_BUCKETS: [f64; 25] = [
    1e-7, 2.5e-7, 5e-7, 1e-6, 2.5e-6, 5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 0.001, 0.0025,
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

pub(super) const OPERATIONS: &str = "cache_operations_total";
pub(super) const ACCESS_DURATION: &str = "cache_access_duration_seconds";
pub(super) const HIT_RATIO: &str = "cache_hit_ratio";
pub(super) const ENTRIES: &str = "cache_entries";
pub(super) const MEMORY_USAGE: &str = "cache_memory_usage_bytes";
pub(super) const LOADS: &str = "cache_loads_total";
pub(super) const LOAD_DURATION: &str = "cache_load_duration_seconds";
pub(super) const COALESCED: &str = "cache_coalesced_total";
pub(super) const STALE_SERVED: &str = "cache_stale_served_total";
pub(super) const FILLS_REFUSED: &str = "cache_fills_refused_total";
pub(super) const INVALIDATIONS: &str = "cache_invalidations_total";
pub(super) const BUS_UP: &str = "cache_bus_up";
pub(super) const BUS_LAG: &str = "cache_bus_lag_seconds";
pub(super) const REPLAY_QUEUE: &str = "cache_replay_queue_depth";
pub(super) const BREAKER_OPEN: &str = "cache_breaker_open";
pub(super) const ACQUIRES: &str = "lock_acquire_total";
pub(super) const WAIT: &str = "lock_wait_seconds";
pub(super) const HOLD: &str = "lock_hold_seconds";
pub(super) const LEASES_LOST: &str = "lock_lease_lost_total";

/// Tells the recorder what they mean.
pub(super) fn describe() {
    let (count, seconds) = (Unit::Count, Unit::Seconds);
    describe_counter!(OPERATIONS, count, "Keys looked up, written and removed, by how that ended");
    describe_counter!(LOADS, count, "Loaders that have ended, by how");
    describe_counter!(COALESCED, count, "Misses that waited for a load of another caller");
    describe_counter!(STALE_SERVED, count, "Hits answered with a value past its freshness");
    describe_counter!(FILLS_REFUSED, count, "Loaded values not stored, for a change came between");
    describe_counter!(INVALIDATIONS, count, "Removals asked for here, and changes heard of others");
    describe_counter!(ACQUIRES, count, "Calls for a lock, by how they ended");
    describe_counter!(LEASES_LOST, count, "Locks whose lease was over before they were given back");
    describe_gauge!(HIT_RATIO, count, "The part of all lookups since the start that were hits");
    describe_gauge!(ENTRIES, count, "Entries held in the process");
    describe_gauge!(MEMORY_USAGE, Unit::Bytes, "Their keys and encoded values");
    describe_gauge!(BUS_UP, count, "1 while other nodes are heard, else 0");
    describe_gauge!(BUS_LAG, seconds, "How late a message of another node is heard at most");
    describe_gauge!(REPLAY_QUEUE, count, "Invalidations that wait for Redis to be back");
    describe_gauge!(BREAKER_OPEN, count, "1 while the subsystem is left alone, else 0");
    describe_histogram!(ACCESS_DURATION, seconds, "Lookups, by the tier that was asked");
    describe_histogram!(LOAD_DURATION, seconds, "Calls of loaders");
    describe_histogram!(WAIT, seconds, "From asking for a lock to getting it");
    describe_histogram!(HOLD, seconds, "From getting a lock to giving it back");
}
