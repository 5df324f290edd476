//! The contract of every cache, on this backend: as itself, bounded in bytes, behind `Arc` and
//! `Box`, and by the system's clock.

use std::sync::Arc;

use cache_core::{CacheService, ManualClock};
use cache_quick::QuickCacheService;
use cache_testkit::{CacheHarness, Capabilities, Capability};

fn harness(wrap: impl FnOnce(QuickCacheService) -> CacheHarness) -> CacheHarness {
    let clock = ManualClock::new();
    let cache = QuickCacheService::builder().clock(&clock).build();
    wrap(cache).clock(clock).capabilities(Capabilities::in_process())
}

mod quick {
    cache_testkit::cache_conformance!(|| super::harness(super::CacheHarness::new));
}

mod quick_bounded_in_bytes {
    fn harness() -> super::CacheHarness {
        let clock = super::ManualClock::new();
        let cache = super::QuickCacheService::builder().max_weight(64 << 20).clock(&clock).build();
        let capabilities = super::Capabilities::in_process().with(super::Capability::ByteWeight);
        super::CacheHarness::new(cache).clock(clock).capabilities(capabilities)
    }
    cache_testkit::cache_conformance!(harness);
}

mod quick_behind_arc_dyn {
    fn harness() -> super::CacheHarness {
        super::harness(|cache| {
            let cache: super::Arc<dyn super::CacheService> = super::Arc::new(cache);
            super::CacheHarness::new(cache)
        })
    }
    cache_testkit::cache_conformance!(harness);
}

mod quick_behind_box_dyn {
    fn harness() -> super::CacheHarness {
        super::harness(|cache| {
            let cache: Box<dyn super::CacheService> = Box::new(cache);
            super::CacheHarness::new(super::Arc::new(cache))
        })
    }
    cache_testkit::cache_conformance!(harness);
}

mod quick_in_real_time {
    fn harness() -> super::CacheHarness {
        let capabilities = super::Capabilities::in_process();
        super::CacheHarness::new(super::QuickCacheService::default()).capabilities(capabilities)
    }
    cache_testkit::cache_conformance!(harness);
}
