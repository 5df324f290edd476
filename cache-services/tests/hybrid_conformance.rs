//! P10: the contract of every cache, on a near tier in front of a real Redis, and on Redis alone as
//! the far tier of a hybrid.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use cache_core::CacheStore;
use cache_hybrid::HybridCache;
use cache_moka::MokaCacheService;
use cache_quick::QuickCacheService;
use cache_redis::{Connections, RedisBus, RedisConfig, RedisStore};
use cache_testkit::servers::RedisServer;
use cache_testkit::{CacheHarness, Capabilities, Capability, eventually};

/// The contract is the subject here, not the budget of a call on a busy machine.
const PATIENT: Duration = Duration::from_secs(5);

/// Shared by all behaviours, each in a namespace of its own; it ends with the process.
static SERVER: LazyLock<RedisServer> = LazyLock::new(RedisServer::start);

async fn harness(near: Option<Arc<dyn CacheStore>>) -> CacheHarness {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let namespace = format!("n{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    let config = RedisConfig::from_url(&SERVER.url()).unwrap();
    let config = config.namespace(namespace).operation_timeout(PATIENT);
    let connections = Connections::connect(&config).await.unwrap();
    let bus = RedisBus::new(connections.clone()).unwrap();
    let far = RedisStore::new(connections).with_bus(&bus);
    let tiers = HybridCache::builder().far(Arc::new(far)).bus(Arc::new(bus));
    let mut capabilities =
        Capabilities::all().without(Capability::RemovalCounts).without(Capability::ByteWeight);
    let tiers = match near {
        Some(near) => tiers.near(near),
        None => {
            capabilities =
                capabilities.without(Capability::LocalReads).without(Capability::EntryCounts);
            tiers
        }
    };
    let cache = tiers.far_timeout(PATIENT * 2).build().unwrap();
    eventually(|| cache.tiers().tier_stats().bus_up).await;
    CacheHarness::new(cache).capabilities(capabilities)
}

/// By this name `scripts/test` runs more of them at once than there are cores: they mostly wait.
mod on_redis {
    use super::*;

    mod quick_and_redis {
        use super::*;

        async fn harness() -> CacheHarness {
            super::harness(Some(Arc::new(QuickCacheService::builder().build_store()))).await
        }
        cache_testkit::cache_conformance!(harness);
    }

    mod moka_and_redis {
        use super::*;

        async fn harness() -> CacheHarness {
            super::harness(Some(Arc::new(MokaCacheService::builder().build_store()))).await
        }
        cache_testkit::cache_conformance!(harness);
    }

    mod redis_alone {
        use super::*;

        async fn harness() -> CacheHarness {
            super::harness(None).await
        }
        cache_testkit::cache_conformance!(harness);
    }
}
