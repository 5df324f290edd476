//! P1 and P2: which loads are joined while the bus is lost.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod fleet;
mod shared;

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use cache_core::{CacheServiceExt, CacheStore};
use cache_hybrid::HybridCache;
use cache_quick::QuickStore;
use cache_testkit::{Gate, eventually, let_others_run, poll_once};
use fleet::{Fleet, TTL};
use futures_util::future::join_all;
use shared::SharedStore;
use tokio::task::JoinHandle;

/// Nobody tells of removals then, so a load from before one is joined as little as the near tier is served.
#[tokio::test]
async fn p2_03_a_load_from_before_a_removal_is_not_joined_while_the_bus_is_lost() {
    for near in [true, false] {
        let fleet = Fleet::new();
        let (a, end) = (fleet.node().await, fleet.hub.node());
        let tiers = HybridCache::builder().far(fleet.far.clone()).bus(end.clone());
        let tiers = if near {
            tiers.near(Arc::new(QuickStore::builder().clock(&fleet.clock).build_store()))
        } else {
            tiers.grace(TTL)
        };
        let b = tiers.build().unwrap();
        let load = |value: u64| {
            let load = move || async move { Ok::<_, Infallible>(value) };
            b.get_or_load("k", TTL, load)
        };
        let begin = async |old: &mut Vec<JoinHandle<u64>>, gate: &Gate| {
            let (cache, load) = (b.clone(), gate.loader(old.len() as u64 + 1));
            old.push(tokio::spawn(
                async move { *cache.get_or_load("k", TTL, load).await.unwrap() },
            ));
            gate.reached().await;
        };
        b.tiers().ready().await;
        let gates = [(); 3].map(|()| Gate::new());
        let mut old = Vec::new();
        begin(&mut old, &gates[0]).await;
        fleet.hub.disconnect_subscribers(&end);
        eventually(|| b.tiers().tier_stats().bus_losses == 1).await;
        let_others_run().await;
        a.cache.invalidate("k").await.unwrap();
        // From before the loss: never again.
        begin(&mut old, &gates[1]).await;
        // From before a removal that came when the bus was lost already: a second later no more.
        a.cache.invalidate("k").await.unwrap();
        fleet.clock.advance(Duration::from_secs(1));
        let_others_run().await;
        begin(&mut old, &gates[2]).await;
        a.cache.invalidate("k").await.unwrap();
        fleet.clock.advance(Duration::from_secs(1));
        let_others_run().await;
        assert_eq!(*load(4).await.unwrap(), 4);
        gates.iter().for_each(Gate::open);
        assert_eq!(
            join_all(old).await.into_iter().map(Result::unwrap).collect::<Vec<_>>(),
            [1, 2, 3]
        );
        assert_eq!(b.get::<u64>("k").await.unwrap(), Some(4));
    }
}

/// Where nothing is removed, those who come while the bus is lost load nothing: they find the lease.
#[tokio::test]
async fn p3_while_the_bus_is_lost_a_load_is_one_all_the_same() {
    let fleet = Fleet::over(|quick| SharedStore::new(quick.clock(), &Arc::default()));
    let b = fleet.node().await;
    let gate = Gate::new();
    let first = b.begin_load("k", TTL.into(), 1, &gate).await;
    fleet.hub.disconnect_subscribers(&b.end);
    eventually(|| !b.serves()).await;
    let mut later = Vec::new();
    for _ in 0..5 {
        let_others_run().await;
        fleet.clock.advance(Duration::from_millis(700));
        let cache = b.cache.clone();
        later.push(tokio::spawn(async move {
            let load = || async { Ok::<_, Infallible>(2_u64) };
            *cache.get_or_load("k", TTL, load).await.unwrap()
        }));
    }
    let_others_run().await;
    gate.open();
    assert_eq!(first.await.unwrap(), 1);
    eventually(|| {
        // They look again by their own timer as well.
        fleet.clock.advance(Duration::from_millis(100));
        later.iter().all(JoinHandle::is_finished)
    })
    .await;
    for load in later {
        assert_eq!(load.await.unwrap(), 1);
    }
}

#[tokio::test]
async fn in_a_grace_loads_are_joined_and_after_it_they_are_not() {
    let fleet = Fleet::new();
    let b = fleet.built(|tiers| tiers.grace(Duration::from_secs(5)));
    let a = fleet.node().await;
    eventually(|| b.serves()).await;
    let gate = Gate::new();
    let first = b.begin_load("k", TTL.into(), 1, &gate).await;
    fleet.hub.disconnect_subscribers(&b.end);
    eventually(|| b.cache.tiers().tier_stats().bus_losses == 1).await;
    let_others_run().await;
    a.cache.invalidate("k").await.unwrap();
    let mut joins = pin!(b.load("k", 2));
    assert!(poll_once(&mut joins).is_pending());
    fleet.clock.advance(Duration::from_secs(5));
    let_others_run().await;
    assert_eq!(b.load("k", 3).await.unwrap(), 3);
    gate.open();
    assert_eq!((first.await.unwrap(), joins.await.unwrap()), (1, 1));
}
