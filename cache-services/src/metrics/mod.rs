//! Handing figures to the `metrics` facade, when they are asked for.
//!
//! Rules:
//!
//! 1. Counting and measuring are the other crates', and never wait for this: what is here reads
//!    snapshots.
//! 2. A counter is handed over as what it is by now: one that only grows.
//! 3. Durations are handed over once, as many as [`AT_ONCE`] of a kind at a time. A recorder keeps each
//!    sample until it is asked for its figures; of more than that a fair part is enough.
//! 4. Keys never become labels. The labels are those in `names.rs`, and each has a few values.

use cache_core::{CacheStats, CacheStore, Durations};
use parking_lot::Mutex;

use self::names::{
    ACCESS_DURATION, ACQUIRES, BREAKER_OPEN, BUS_LAG, BUS_UP, COALESCED, ENTRIES, FILLS_REFUSED,
    HIT_RATIO, HOLD, INVALIDATIONS, LEASES_LOST, LOAD_DURATION, LOADS, MEMORY_USAGE, OPERATIONS,
    REPLAY_QUEUE, STALE_SERVED, WAIT,
};
use crate::CacheConfig;
use crate::parts::{Parts, Redis};

mod names;

pub use names::DURATION_BUCKETS;

/// The most durations of a kind that are handed over at a time.
const AT_ONCE: u64 = 20_000;
/// The namespace, where none is set.
const NAMELESS: &str = "cache";

/// What of one pair of services has been handed over.
#[derive(Debug)]
pub(crate) struct Meter {
    /// The label `cache`.
    name: String,
    published: Mutex<Published>,
}

/// The durations that were handed over last.
#[derive(Debug, Default)]
struct Published {
    near: Durations,
    far: Durations,
    loads: Durations,
    waits: Durations,
    holds: Durations,
}

impl Meter {
    pub(crate) fn new(config: &CacheConfig) -> Self {
        let named = [&*config.name, &*config.namespace].into_iter().find(|name| !name.is_empty());
        let name = named.unwrap_or(NAMELESS).to_owned();
        Self { name, published: Mutex::default() }
    }

    pub(crate) fn publish(&self, parts: &Parts) {
        names::describe();
        self.cache(&parts.cache.service().stats());
        let mut published = self.published.lock();
        let times = parts.cache.times();
        let near = published.near.replace(times.near_hits);
        hand_over(ACCESS_DURATION, &[("cache", self.name.as_str()), ("tier", "near")], &near);
        let loads = published.loads.replace(times.loads);
        hand_over(LOAD_DURATION, &[("cache", self.name.as_str())], &loads);
        if let Some(redis) = &parts.redis {
            self.redis(parts, redis, &mut published);
        }
        self.locks(parts, &mut published);
    }

    fn cache(&self, stats: &CacheStats) {
        let operations = [
            ("get", "hit_near", stats.local_hits),
            ("get", "hit_far", stats.remote_hits),
            ("get", "miss", stats.misses),
            ("get", "error", stats.failed_lookups),
            ("set", "ok", stats.writes),
            ("set", "error", stats.failed_writes),
            ("remove", "ok", stats.removals),
            ("remove", "error", stats.failed_removals),
        ];
        for (operation, result, count) in operations {
            self.count(OPERATIONS, &[("operation", operation), ("result", result)], count);
        }
        self.count(LOADS, &[("result", "ok")], stats.loaded);
        self.count(LOADS, &[("result", "error")], stats.load_failures);
        self.count(COALESCED, &[], stats.coalesced);
        self.count(STALE_SERVED, &[], stats.stale_served);
        self.count(FILLS_REFUSED, &[], stats.fills_refused);
        self.count(INVALIDATIONS, &[("source", "local")], stats.invalidations);
        // Before the first lookup there is no ratio.
        if stats.local_hits + stats.remote_hits + stats.misses > 0 {
            self.gauge(HIT_RATIO, &[], stats.hit_ratio());
        }
        self.gauge(ENTRIES, &[], stats.entries as f64);
        self.gauge(MEMORY_USAGE, &[], stats.bytes as f64);
    }

    fn redis(&self, parts: &Parts, redis: &Redis, published: &mut Published) {
        let Some(tiers) = parts.cache.tiers() else { return };
        let far = published.far.replace(tiers.far_times());
        hand_over(ACCESS_DURATION, &[("cache", self.name.as_str()), ("tier", "far")], &far);
        let stats = tiers.tier_stats();
        self.count(INVALIDATIONS, &[("source", "bus")], stats.heard);
        self.gauge(BUS_UP, &[], f64::from(stats.bus_up));
        self.gauge(REPLAY_QUEUE, &[], stats.replays_pending as f64);
        self.gauge(BREAKER_OPEN, &[("subsystem", "far")], f64::from(stats.far_open));
        self.gauge(BREAKER_OPEN, &[("subsystem", "bus")], f64::from(stats.bus_open));
        if let Some(lag) = redis.bus.stats().lag {
            self.gauge(BUS_LAG, &[], lag.as_secs_f64());
        }
    }

    fn locks(&self, parts: &Parts, published: &mut Published) {
        let stats = parts.locks.stats();
        for (result, count) in [
            ("acquired", stats.acquired),
            ("timeout", stats.timed_out),
            ("held", stats.found_held),
            ("unavailable", stats.unavailable),
            ("lost", stats.lost_at_once),
        ] {
            self.count(ACQUIRES, &[("result", result)], count);
        }
        self.count(LEASES_LOST, &[], stats.leases_lost);
        let times = parts.locks.times();
        hand_over(WAIT, &[("cache", self.name.as_str())], &published.waits.replace(times.waits));
        hand_over(HOLD, &[("cache", self.name.as_str())], &published.holds.replace(times.holds));
    }

    fn count(&self, name: &'static str, labels: &[(&'static str, &'static str)], count: u64) {
        metrics::counter!(name, &self.labels(labels)).absolute(count);
    }

    fn gauge(&self, name: &'static str, labels: &[(&'static str, &'static str)], value: f64) {
        metrics::gauge!(name, &self.labels(labels)).set(value);
    }

    fn labels(&self, more: &[(&'static str, &'static str)]) -> Vec<(&'static str, String)> {
        let more = more.iter().map(|(label, value)| (*label, (*value).to_owned()));
        std::iter::once(("cache", self.name.clone())).chain(more).collect()
    }
}

trait Replace {
    /// What has come since, which is from now on handed over.
    fn replace(&mut self, now: Durations) -> Durations;
}

impl Replace for Durations {
    fn replace(&mut self, now: Durations) -> Durations {
        let new = now.since(self);
        *self = now;
        new
    }
}

/// Rule 3. Also where there are none: so the series is there from the beginning.
fn hand_over(name: &'static str, labels: &[(&'static str, &str)], durations: &Durations) {
    let labels: Vec<_> =
        labels.iter().map(|(label, value)| (*label, (*value).to_owned())).collect();
    let histogram = metrics::histogram!(name, &labels);
    let (all, mut seen, mut given) = (durations.count(), 0, 0);
    for (duration, count) in durations.iter() {
        seen += count;
        let due = if all > AT_ONCE { share(seen, all) } else { seen };
        histogram.record_many(duration.as_secs_f64(), usize::try_from(due - given).unwrap_or(0));
        given = due;
    }
}

/// How many of [`AT_ONCE`] the first `seen` of `all` are.
fn share(seen: u64, all: u64) -> u64 {
    let share = u128::from(seen) * u128::from(AT_ONCE) / u128::from(all.max(1));
    u64::try_from(share).unwrap_or(AT_ONCE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_very_many_durations_a_fair_part_is_handed_over() {
        assert_eq!((share(0, 90_000), share(90_000, 90_000)), (0, AT_ONCE));
        assert_eq!(share(45_000, 90_000), AT_ONCE / 2);
        assert_eq!(share(u64::MAX, u64::MAX), AT_ONCE);
    }
}
