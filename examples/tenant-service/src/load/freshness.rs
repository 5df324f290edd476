//! Whether an answer is as new as it has to be.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// What is known of the versions of each tenant's user.
#[derive(Debug)]
pub(super) struct Freshness {
    bound: Duration,
    changes: Vec<Mutex<VecDeque<Change>>>,
}

/// A change that was answered: from then on the instance that made it must not show an older version,
/// and others not for longer than the bound.
#[derive(Clone, Copy, Debug)]
struct Change {
    answered: Instant,
    version: u64,
    target: usize,
}

/// Changes that are remembered of one user: with some a second it is minutes until one is forgotten,
/// and then a later one is over the bound as well.
const REMEMBERED: usize = 1_024;

impl Freshness {
    pub(super) fn new(tenants: u32, bound: Duration) -> Self {
        Self { bound, changes: (0..tenants).map(|_| Mutex::default()).collect() }
    }

    /// A change was answered, and nobody may show an older version after the bound.
    pub(super) fn changed(&self, tenant: u32, version: u64, target: usize, answered: Instant) {
        let Some(changes) = self.changes.get(tenant as usize) else { return };
        let mut changes = changes.lock();
        if changes.len() == REMEMBERED {
            changes.pop_front();
        }
        changes.push_back(Change { answered, version, target });
    }

    /// Whether `version` may be what `target` says to a request that was sent at `sent`.
    pub(super) fn is_fresh(&self, tenant: u32, version: u64, target: usize, sent: Instant) -> bool {
        let Some(changes) = self.changes.get(tenant as usize) else { return true };
        changes.lock().iter().all(|change| {
            let bound = if change.target == target { Duration::ZERO } else { self.bound };
            version >= change.version || sent < change.answered + bound
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_instance_that_changed_it_shows_it_at_once_and_the_others_after_the_bound() {
        let fresh = Freshness::new(2, Duration::from_secs(1));
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        fresh.changed(0, 2, 0, at(0));
        fresh.changed(0, 3, 1, at(500));
        assert!(!fresh.is_fresh(0, 1, 0, at(0)), "the same instance, at once");
        assert!(fresh.is_fresh(0, 1, 1, at(400)), "another one has a second");
        assert!(!fresh.is_fresh(0, 2, 1, at(500)), "but not for what it changed itself");
        assert!(fresh.is_fresh(0, 2, 0, at(1_499)));
        assert!(!fresh.is_fresh(0, 2, 0, at(1_500)));
        assert!(fresh.is_fresh(0, 3, 0, at(9_000)));
        assert!(fresh.is_fresh(1, 1, 0, at(9_000)), "another tenant");
    }
}
