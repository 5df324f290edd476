//! P2: the near tier is served while somebody listens to the bus, and for as long as the bus says
//! that it is up.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod fleet;

use std::sync::Arc;

use cache_core::{CacheServiceExt, CacheStore, Selector};
use cache_quick::QuickStore;
use cache_testkit::{LocalBus, eventually};
use fleet::Fleet;

use cache_hybrid::HybridCache;

#[test]
fn p2_a_hybrid_whose_runtime_is_gone_serves_nothing_near() {
    let hub = LocalBus::new(1);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_time().build().unwrap();
    let cache = runtime.block_on(async {
        let near = Arc::new(QuickStore::builder().build_store());
        let cache = HybridCache::builder().near(near).bus(hub.node()).build().unwrap();
        eventually(|| cache.tiers().serves_near()).await;
        cache
    });
    drop(runtime);
    assert!(!cache.tiers().serves_near());
    assert!(!cache.tiers().tier_stats().bus_up);
}

#[tokio::test]
async fn p2_a_near_tier_whose_listener_has_died_is_not_served() {
    let fleet = Fleet::new();
    let (a, b) = (fleet.node().await, fleet.node().await);
    a.set("k", 1).await;
    cache_testkit::let_others_run().await;
    assert_eq!(b.get("k").await, Some(1));
    // Whatever is told of a removal runs in the task that listens.
    b.cache.tiers().on_removal(Arc::new(|what: &Selector| assert!(!what.matches("fatal"))));
    a.cache.invalidate("fatal").await.unwrap();
    eventually(|| !b.serves()).await;
    a.cache.set("k", &2_u64, fleet::TTL).await.unwrap();
    assert_eq!(b.get("k").await, Some(2));
}
