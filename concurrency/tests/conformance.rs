//! The family's lock suite on this crate's backend, behind each kind of handle; and proof that
//! the suite fails where it should, and only there.

mod suite_can_fail;

use std::sync::Arc;

use cache_concurrency::LocalConcurrencyService;
use cache_core::{ConcurrencyService, ManualClock};
use cache_testkit::concurrency_suite::LockHarness;

fn manual() -> (LocalConcurrencyService, ManualClock) {
    let clock = ManualClock::new();
    (LocalConcurrencyService::builder().clock(&clock).build(), clock)
}

mod local {
    fn harness() -> super::LockHarness {
        let (locks, clock) = super::manual();
        let clone = locks.clone();
        let another = move || std::future::ready(clone.clone());
        super::LockHarness::new(locks).with_clock(clock).with_another(another)
    }

    cache_testkit::concurrency_conformance!(harness);
}

/// As a backend without a manual clock runs it: a few leases of 400 ms pass in real time.
mod real_time {
    cache_testkit::concurrency_conformance!(|| async {
        super::LockHarness::new(super::LocalConcurrencyService::new())
    });
}

mod arc_dyn {
    cache_testkit::concurrency_conformance!(|| async {
        let (locks, clock) = super::manual();
        let locks: super::Arc<dyn super::ConcurrencyService> = super::Arc::new(locks);
        super::LockHarness::new(locks).with_clock(clock)
    });
}

mod box_dyn {
    cache_testkit::concurrency_conformance!(|| async {
        let (locks, clock) = super::manual();
        let locks: Box<dyn super::ConcurrencyService> = Box::new(locks);
        super::LockHarness::new(locks).with_clock(clock).with_key_prefix("prefix:")
    });
}
