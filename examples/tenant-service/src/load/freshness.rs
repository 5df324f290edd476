//! Whether an answer is as new as it has to be.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// What is known of the versions of each tenant's user.
#[derive(Debug)]
pub(super) struct Freshness {
    changes: Vec<Mutex<VecDeque<Change>>>,
}

/// A change that was answered: from then on the instance that made it must not show an older version,
/// and others not for longer than their bound.
#[derive(Clone, Copy, Debug)]
struct Change {
    answered: Instant,
    version: u64,
    target: usize,
    /// Nothing is known of when others hear of it, if there is none.
    others: Option<Duration>,
}

/// Changes that are remembered of one user: with some a second it is minutes until one is forgotten,
/// and then a later one is over the bound as well.
const REMEMBERED: usize = 1_024;

impl Freshness {
    pub(super) fn new(tenants: u32) -> Self {
        Self { changes: (0..tenants).map(|_| Mutex::default()).collect() }
    }

    /// A change that `target` made was answered: it must show no older version from then on, and others
    /// must not after the bound for `others`.
    pub(super) fn changed(
        &self,
        tenant: u32,
        version: u64,
        target: usize,
        answered: Instant,
        others: Option<Duration>,
    ) {
        let Some(changes) = self.changes.get(tenant as usize) else { return };
        let mut changes = changes.lock();
        if changes.len() == REMEMBERED {
            changes.pop_front();
        }
        changes.push_back(Change { answered, version, target, others });
    }

    /// Whether `version` may be what `target` says to a request that was sent at `sent`.
    pub(super) fn is_fresh(&self, tenant: u32, version: u64, target: usize, sent: Instant) -> bool {
        let Some(changes) = self.changes.get(tenant as usize) else { return true };
        changes.lock().iter().all(|change| {
            let here = change.target == target;
            let bound = if here { Some(Duration::ZERO) } else { change.others };
            version >= change.version || bound.is_none_or(|bound| sent < change.answered + bound)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_instance_that_changed_it_shows_it_at_once_and_the_others_after_the_bound() {
        let fresh = Freshness::new(2);
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let second = Some(Duration::from_secs(1));
        fresh.changed(0, 2, 0, at(0), second);
        fresh.changed(0, 3, 1, at(500), second);
        assert!(!fresh.is_fresh(0, 1, 0, at(0)), "the same instance, at once");
        assert!(fresh.is_fresh(0, 1, 1, at(400)), "another one has a second");
        assert!(!fresh.is_fresh(0, 2, 1, at(500)), "but not for what it changed itself");
        assert!(fresh.is_fresh(0, 2, 0, at(1_499)));
        assert!(!fresh.is_fresh(0, 2, 0, at(1_500)));
        assert!(fresh.is_fresh(0, 3, 0, at(9_000)));
        assert!(fresh.is_fresh(1, 1, 0, at(9_000)), "another tenant");
        fresh.changed(1, 2, 0, at(0), None);
        assert!(!fresh.is_fresh(1, 1, 0, at(0)), "the instance that made it, told or not");
        assert!(fresh.is_fresh(1, 1, 1, at(9_000)), "another one, which is not told yet");
    }
}
