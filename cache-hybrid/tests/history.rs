//! P1 12, 13, 14 and P2 03: random histories of three nodes over one far tier and a bus that is
//! late, repeats, reorders, loses and goes away, checked against the rules of
//! `cache_testkit::history`. A seed that fails is printed; `HISTORY_SEED` runs it again.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is how a test fails")]

mod planted;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use cache_core::{CacheService, CacheStore, ErrorKind, InvalidationBus, ManualClock, Timestamp};
use cache_hybrid::{HybridCache, HybridCacheBuilder};
use cache_quick::QuickStore;
use cache_testkit::history::{
    History, Mode, Node, Options, Recorder, Violation, explore, find, run,
};
use cache_testkit::{BusFaults, FlakyCache, LocalBus};
use planted::{DeafToReconnect, Ignores, Planted};

const MS: Duration = Duration::from_millis(1);
/// Within how many seeds a planted bug must be found.
const ENOUGH: u64 = 1_000;

/// What goes wrong in a history.
#[derive(Clone)]
struct Faults {
    bus: BusFaults,
    /// Now and then the far tier fails, and other times it does what is asked and fails then.
    far: bool,
    grace: Duration,
    planted: Option<Ignores>,
    deaf: bool,
}

impl Faults {
    fn of(bus: BusFaults) -> Self {
        Self { bus, far: false, grace: Duration::ZERO, planted: None, deaf: false }
    }

    fn every() -> Self {
        let late = BusFaults::none().delay(50 * MS).duplicate(0.1).reorder(0.1);
        Self { far: true, ..Self::of(late.lose(0.05).detection(50 * MS).outage(200 * MS)) }
    }
}

/// A store each of whose operations has await points.
fn with_turns(store: impl CacheStore) -> FlakyCache<Box<dyn CacheStore>> {
    let store = FlakyCache::remote(Box::new(store) as Box<dyn CacheStore>);
    store.faults().when(|_| true).yields(1);
    store.faults().when(|_| true).after().yields(1);
    store
}

async fn history(seed: u64, faults: Faults) -> History {
    let (clock, recorder) = (ManualClock::at(Timestamp::ZERO), Recorder::new());
    let quick = || QuickStore::builder().clock(&clock).build_store();
    let shared = Planted::far(quick(), faults.planted);
    let far = with_turns(shared);
    if faults.far {
        let unlucky = |seed| {
            let rng = Mutex::new(fastrand::Rng::with_seed(seed));
            move || rng.lock().unwrap().u8(..100) < 3
        };
        let (before, after) = (unlucky(seed), unlucky(!seed));
        far.faults().when(move |_| before()).fail(ErrorKind::Unavailable);
        far.faults().when(move |_| after()).after().fail(ErrorKind::Timeout);
    }
    let far: Arc<dyn CacheStore> = Arc::new(far);
    let hub = LocalBus::lossy(seed, faults.bus.clone(), &clock);
    let ends: Vec<_> = (0..3).map(|_| hub.node()).collect();
    let build = |tiers: HybridCacheBuilder| -> Arc<dyn CacheService> {
        Arc::new(tiers.grace(faults.grace).clock(&clock).build().unwrap())
    };
    let nodes = ends.iter().enumerate().map(|(number, end)| {
        let mut bus: Arc<dyn InvalidationBus> = recorder.bus(number, Arc::clone(end) as _);
        if faults.deaf {
            bus = Arc::new(DeafToReconnect(bus));
        }
        let near = Planted::near(quick(), faults.planted);
        Node::new(build(HybridCache::builder().near(Arc::new(near)).far(far.clone()).bus(bus)))
    });
    let nodes = nodes.collect();
    let (healing, all) = (hub.clone(), ends.clone());
    let options = Options::new().clock(&clock).recorder(&recorder);
    let options = options.between_steps(move |_, rng| match (rng.u8(..100), rng.choice(&ends)) {
        (0, Some(end)) => hub.disconnect(end),
        (1, Some(end)) => hub.disconnect_subscribers(end),
        (2..5, Some(end)) => hub.reconnect(end),
        _ => {}
    });
    let options = options.at_end(move || {
        healing.heal();
        all.iter().for_each(|end| healing.reconnect(end));
    });
    run(seed, nodes, options).await
}

#[test]
fn p1_12_a_bus_that_is_late_and_repeats_itself() {
    let late = BusFaults::none().delay(50 * MS).duplicate(0.1).reorder(0.1);
    explore(0..1_000, Mode::Told, async |seed| history(seed, Faults::of(late.clone())).await);
}

#[test]
fn p1_12_every_fault_of_bus_and_far_tier() {
    explore(0..1_000, Mode::Told, async |seed| history(seed, Faults::every()).await);
}

#[test]
fn p1_12_with_a_grace() {
    let faults = Faults { grace: Duration::from_secs(3_600), ..Faults::every() };
    explore(0..300, Mode::ToldWithGrace, async |seed| history(seed, faults.clone()).await);
}

/// The seed that shows what goes wrong, and that it does so again.
fn found(faults: &Faults) -> Violation {
    let wrong = async |seed| history(seed, faults.clone()).await;
    let (seed, violation) = find(0..ENOUGH, Mode::Told, wrong).expect("the bug was not found");
    let (_, again) = find(seed..seed + 1, Mode::Told, wrong).expect("the seed does not replay");
    assert_eq!(again.read.action, violation.read.action);
    violation
}

#[test]
fn a_near_commit_without_its_lease_is_found() {
    found(&Faults { planted: Some(Ignores::NearLease), ..Faults::of(BusFaults::none()) });
}

#[test]
fn a_fill_without_its_lease_is_found() {
    found(&Faults { planted: Some(Ignores::FarLease), ..Faults::of(BusFaults::none()) });
}

#[test]
fn a_near_tier_that_is_not_emptied_on_reconnect_is_found() {
    found(&Faults { deaf: true, ..Faults::every() });
}
