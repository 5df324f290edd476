//! The suite on the family's own in-process backends.

use cache_moka::MokaCacheService;
use cache_quick::QuickCacheService;
use cache_testkit::{CacheHarness, Capabilities, Capability, ManualClock};

mod quick {
    use super::*;

    fn harness() -> CacheHarness {
        let clock = ManualClock::new();
        CacheHarness::new(QuickCacheService::builder().clock(&clock).build())
            .clock(clock)
            .capabilities(Capabilities::in_process())
    }

    cache_testkit::cache_conformance!(harness);
}

mod quick_by_weight {
    use super::*;

    fn harness() -> CacheHarness {
        let clock = ManualClock::new();
        let cache = QuickCacheService::builder().clock(&clock).max_weight(64 << 20).build();
        let able = Capabilities::in_process().with(Capability::ByteWeight);
        CacheHarness::new(cache).clock(clock).capabilities(able)
    }

    cache_testkit::cache_conformance!(harness);
}

mod moka {
    use super::*;

    fn harness() -> CacheHarness {
        let clock = ManualClock::new();
        CacheHarness::new(MokaCacheService::builder().clock(&clock).build())
            .clock(clock)
            .capabilities(Capabilities::in_process())
    }

    cache_testkit::cache_conformance!(harness);
}
