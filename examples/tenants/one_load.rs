//! Demonstration: whatever is looked up is loaded once per TTL, by whichever instance comes first.

use std::collections::HashSet;
use std::time::Duration;

use cache_services::CacheConfig;

use crate::AnyError;
use crate::database::QUERIES_PER_TENANT;
use crate::fleet::Fleet;
use crate::format::count;
use crate::measure::Measured;
use crate::service::JITTER;
use crate::workload::Workload;

/// `run` is what the lookups of `workload` were like, in a cache that was empty before.
pub(crate) fn check(run: &Measured, workload: &Workload, fleet: &Fleet) -> Result<(), AnyError> {
    let keys: HashSet<_> = workload.picks.iter().collect();
    let keys = keys.len() as u64;
    let times = times_at_most(run.elapsed, CacheConfig::from_env()?.default_ttl);
    let loads = run.queries / QUERIES_PER_TENANT;
    if loads > keys.saturating_mul(times) {
        let wrong = format!("{loads} loads of {keys} keys, each of which needs {times} at most");
        return Err(wrong.into());
    }
    println!(
        "{} loads for {} keys among {} instances: what one has loaded, the others find in Redis.",
        count(loads),
        count(keys),
        fleet.len()
    );
    Ok(())
}

/// How often a key is due that is looked up all the time.
fn times_at_most(elapsed: Duration, ttl: Duration) -> u64 {
    1 + (elapsed.as_secs_f64() / (ttl.as_secs_f64() * (1.0 - JITTER))) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_due_once_per_ttl() {
        for (seconds, times) in [(0, 1), (8, 1), (10, 2), (17, 2), (19, 3)] {
            let at_most = times_at_most(Duration::from_secs(seconds), Duration::from_secs(10));
            assert_eq!(at_most, times, "{seconds} s");
        }
    }
}
