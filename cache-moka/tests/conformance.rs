//! The contract of every cache, on this backend: as itself and behind `Arc<dyn CacheService>`.

use std::sync::Arc;

use cache_core::{CacheService, ManualClock};
use cache_moka::MokaCacheService;
use cache_testkit::{CacheHarness, Capabilities};

fn harness(wrap: impl FnOnce(MokaCacheService) -> CacheHarness) -> CacheHarness {
    let clock = ManualClock::new();
    let cache = MokaCacheService::builder().clock(&clock).build();
    wrap(cache).clock(clock).capabilities(Capabilities::in_process())
}

mod moka {
    cache_testkit::cache_conformance!(|| super::harness(super::CacheHarness::new));
}

mod moka_behind_arc_dyn {
    fn harness() -> super::CacheHarness {
        super::harness(|cache| {
            let cache: super::Arc<dyn super::CacheService> = super::Arc::new(cache);
            super::CacheHarness::new(cache)
        })
    }
    cache_testkit::cache_conformance!(harness);
}
