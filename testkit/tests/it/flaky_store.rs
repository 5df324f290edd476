//! The suite where every operation of the store has await points, and where nothing is held in the
//! process: what a store in memory does at once is then open to what comes between.

use cache_core::ReadThrough;
use cache_testkit::{CacheHarness, Capabilities, Capability, FlakyCache, ManualClock};

use crate::backend::{Leases, MapStore};

fn harness(leases: Leases, wrap: fn(MapStore) -> FlakyCache<MapStore>) -> CacheHarness {
    let clock = ManualClock::new();
    let store = wrap(MapStore::new(clock.clock()).with_leases(leases));
    store.faults().when(|_| true).yields(2);
    store.faults().when(|_| true).after().yields(1);
    CacheHarness::new(ReadThrough::new(store)).clock(clock)
}

mod with_await_points {
    use super::*;

    cache_testkit::cache_conformance!(|| {
        harness(Leases::SideBySide, FlakyCache::new).capabilities(Capabilities::in_process())
    });
}

mod as_if_far_away {
    use super::*;

    fn far() -> CacheHarness {
        let able =
            Capabilities::all().without(Capability::LocalReads).without(Capability::ByteWeight);
        harness(Leases::Exclusive, FlakyCache::remote).capabilities(able)
    }

    cache_testkit::cache_conformance!(far);
}
