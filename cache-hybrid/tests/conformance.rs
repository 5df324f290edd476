//! P10: the contract of every cache, on two tiers in the process and on either alone. With Redis as
//! the far tier: `cache-services/tests/hybrid_conformance.rs`.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::sync::Arc;

use cache_core::{CacheStore, ManualClock};
use cache_hybrid::{HybridCache, HybridCacheBuilder};
use cache_quick::QuickCacheService;
use cache_testkit::{CacheHarness, Capabilities, FlakyCache};

fn quick(clock: &ManualClock) -> Arc<dyn CacheStore> {
    Arc::new(QuickCacheService::builder().clock(clock).build())
}

/// As if it were elsewhere: it shows nothing without being asked.
fn far(clock: &ManualClock) -> Arc<dyn CacheStore> {
    Arc::new(FlakyCache::remote(QuickCacheService::builder().clock(clock).build()))
}

fn harness(
    tiers: impl FnOnce(HybridCacheBuilder, &ManualClock) -> HybridCacheBuilder,
) -> CacheHarness {
    let clock = ManualClock::new();
    let cache = tiers(HybridCache::builder(), &clock).build().unwrap();
    CacheHarness::new(cache).clock(clock)
}

mod near_and_far {
    use super::*;

    async fn harness() -> CacheHarness {
        super::harness(|tiers, clock| tiers.near(quick(clock)).far(far(clock)))
            .capabilities(Capabilities::in_process())
    }
    cache_testkit::cache_conformance!(harness);
}

mod near_alone {
    use super::*;

    async fn harness() -> CacheHarness {
        super::harness(|tiers, clock| tiers.near(quick(clock)))
            .capabilities(Capabilities::in_process())
    }
    cache_testkit::cache_conformance!(harness);
}

mod far_alone {
    use super::*;
    use cache_testkit::Capability;

    async fn harness() -> CacheHarness {
        let capabilities = Capabilities::in_process()
            .without(Capability::LocalReads)
            .without(Capability::EntryCounts);
        super::harness(|tiers, clock| tiers.far(far(clock))).capabilities(capabilities)
    }
    cache_testkit::cache_conformance!(harness);
}
