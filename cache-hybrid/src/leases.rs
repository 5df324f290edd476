//! Leases of the far tier that were granted and that nobody uses any more: the fill was not even
//! asked for, as the far tier did not answer then.
//!
//! Until they are given back no other node loads their keys, so that is tried again until they have
//! run out by themselves.

use std::collections::VecDeque;

use cache_core::{Lease, Timestamp};
use parking_lot::Mutex;

/// Beyond so many the oldest are left to run out.
const AT_MOST: usize = 4_096;

#[derive(Default)]
pub(crate) struct Unused(Mutex<VecDeque<Lease>>);

impl Unused {
    pub(crate) fn add(&self, lease: Lease) {
        let mut leases = self.0.lock();
        if leases.len() == AT_MOST {
            leases.pop_front();
        }
        leases.push_back(lease);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }

    /// One that has not run out, which is taken.
    pub(crate) fn next(&self, now: Timestamp) -> Option<Lease> {
        let mut leases = self.0.lock();
        std::iter::from_fn(|| leases.pop_front()).find(|lease| now < lease.valid_until())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_have_run_out_are_forgotten_and_there_is_a_bound() {
        let unused = Unused::default();
        let at = Timestamp::from_micros;
        for id in 0..AT_MOST as u64 + 2 {
            unused.add(Lease::new("k", id, at(id)));
        }
        assert_eq!(unused.0.lock().len(), AT_MOST);
        assert_eq!(unused.next(at(9)).map(|lease| lease.id()), Some(10));
        assert!(unused.next(Timestamp::MAX).is_none() && unused.is_empty());
    }
}
