//! P1 12, 13, 14 and P2 03: random histories of three nodes over one far tier and a bus that is
//! late, repeats, reorders, loses and goes away, checked against the rules of
//! `cache_testkit::history`. A seed that fails is printed; `HISTORY_SEED` runs it again.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is how a test fails")]

mod planted;
mod shared;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cache_core::{
    CacheError, CacheStore, Entry, ErrorKind, InvalidationBus, ManualClock, Policy, Selector,
    Timestamp,
};
use cache_hybrid::HybridCache;
use cache_quick::QuickStore;
use cache_testkit::history::{
    Action, History, Mode, Node, Options, Recorder, Violation, explore, find, run,
};
use cache_testkit::{BusFaults, FlakyCache, LocalBus, LocalBusNode};
use futures_util::FutureExt;
use planted::{Bug, Planted, Reconnect};
use shared::{Seen, SharedStore};

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
    /// The chance, at each step, that a node ends in the midst of what it does, and a new one begins.
    restarts: f64,
    /// Somebody writes to the far tier and removes there by hand.
    hand: bool,
    planted: Place,
    watched: Watched,
}

/// Where a bug is planted.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Nowhere,
    /// The near tier fills blindly.
    NearFill,
    FarFill,
    /// The near tier is not emptied when the bus is back.
    Reconnect,
}

/// What the histories are to have in them.
#[derive(Clone, Default)]
struct Watched {
    seen: Arc<Seen>,
    /// `None`: the near tier is as it is.
    values: Option<Arc<AtomicU64>>,
}

impl Faults {
    fn of(bus: BusFaults) -> Self {
        let (planted, watched) = (Place::Nowhere, Watched::default());
        let (far, hand, restarts) = (false, false, 0.0);
        Self { bus, far, grace: Duration::ZERO, restarts, hand, planted, watched }
    }

    fn every() -> Self {
        let late = BusFaults::none().delay(50 * MS).duplicate(0.1).reorder(0.1);
        Self { far: true, ..Self::of(late.lose(0.05).detection(50 * MS).outage(200 * MS)) }
    }

    fn near(&self, quick: QuickStore, back: &Reconnect) -> Arc<dyn CacheStore> {
        let bug = match self.planted {
            Place::NearFill => Bug::FillsBlindly,
            Place::Reconnect => Bug::KeepsOnReconnect(back.clone()),
            Place::Nowhere | Place::FarFill => Bug::None,
        };
        match (bug, &self.watched.values) {
            (Bug::None, None) => Arc::new(quick),
            (bug, None) => Arc::new(Planted::new(quick, bug)),
            (bug, Some(values)) => Arc::new(Planted::new(quick, bug).counting(values)),
        }
    }

    fn far(&self, shared: SharedStore) -> Box<dyn CacheStore> {
        match self.planted {
            Place::FarFill => Box::new(Planted::new(shared, Bug::FillsBlindly)),
            _ => Box::new(shared),
        }
    }
}

/// A store each of whose operations has await points.
fn with_turns(store: Box<dyn CacheStore>) -> FlakyCache<Box<dyn CacheStore>> {
    let store = FlakyCache::remote(store);
    store.faults().when(|_| true).yields(1);
    store.faults().when(|_| true).after().yields(1);
    store
}

/// What the nodes of a history share.
struct Fleet {
    seed: u64,
    faults: Faults,
    clock: ManualClock,
    recorder: Recorder,
    shared: SharedStore,
    hub: LocalBus,
    /// How the nodes that run hang together with the rest, by number.
    ties: HashMap<usize, Ties>,
}

struct Ties {
    end: Arc<LocalBusNode>,
    far: cache_testkit::Faults,
}

impl Fleet {
    fn new(seed: u64, faults: Faults) -> Self {
        let clock = ManualClock::at(Timestamp::ZERO);
        let shared = SharedStore::new(&clock, &faults.watched.seen);
        let hub = LocalBus::lossy(seed, faults.bus.clone(), &clock);
        let (recorder, ties) = (Recorder::new(), HashMap::new());
        Self { seed, faults, clock, recorder, shared, hub, ties }
    }

    fn start(&mut self, number: usize) -> Node {
        let Self { faults, clock, .. } = self;
        let far = with_turns(faults.far(self.shared.clone()));
        if faults.far {
            let unlucky = |seed| {
                let rng = Mutex::new(fastrand::Rng::with_seed(seed ^ ((number as u64) << 32)));
                move || rng.lock().unwrap().u8(..100) < 3
            };
            let (before, after) = (unlucky(self.seed), unlucky(!self.seed));
            far.faults().when(move |_| before()).fail(ErrorKind::Unavailable);
            far.faults().when(move |_| after()).after().fail(ErrorKind::Timeout);
        }
        let (end, back) = (self.hub.node(), Reconnect::default());
        self.ties.insert(number, Ties { end: Arc::clone(&end), far: far.faults() });
        let bus = self.recorder.bus(number, self.shared.telling(end));
        let bus = match faults.planted {
            Place::Reconnect => back.heard_of(bus),
            _ => bus,
        };
        let near = faults.near(QuickStore::builder().clock(&*clock).build_store(), &back);
        let tiers = HybridCache::builder().near(near).far(Arc::new(far)).bus(bus);
        let cache = tiers.grace(faults.grace).clock(&*clock).build().unwrap();
        Node::new(Arc::new(cache))
    }

    /// From now on nothing that the node does reaches anybody. What is on its way may still.
    fn kill(&mut self, number: usize) {
        let ties = self.ties.remove(&number).unwrap();
        ties.far.when(|_| true).fail(ErrorKind::Unavailable);
        self.hub.disconnect(&ties.end);
    }

    fn trouble(&self, rng: &mut fastrand::Rng) {
        let mut numbers: Vec<_> = self.ties.keys().copied().collect();
        numbers.sort_unstable();
        let number = rng.choice(numbers).unwrap();
        let end = &self.ties[&number].end;
        match rng.u8(..100) {
            0 => self.hub.disconnect(end),
            1 => self.hub.disconnect_subscribers(end),
            2..5 => self.hub.reconnect(end),
            _ => {}
        }
    }

    fn heal(&self) {
        self.hub.heal();
        self.ties.values().for_each(|ties| self.hub.reconnect(&ties.end));
    }
}

/// Who writes to the far tier without a cache, and mostly tells of it.
struct Hand {
    recorder: Recorder,
    shared: SharedStore,
    bus: Arc<dyn InvalidationBus>,
    written: u64,
}

impl Hand {
    /// The number of its records.
    const NODE: usize = 1_000_000;

    fn of(fleet: &Fleet) -> Self {
        let bus = fleet.recorder.bus(Self::NODE, fleet.hub.node());
        let (recorder, shared) = (fleet.recorder.clone(), fleet.shared.clone());
        Self { recorder, shared, bus, written: 0 }
    }

    fn act(&mut self, rng: &mut fastrand::Rng) {
        let key = rng.choice(["a:1", "a:2", "b:1"]).unwrap();
        let (acts, tells) = (rng.u8(..100), rng.u8(..4) != 0);
        let what = Selector::key(key);
        let begun = match acts {
            0..4 => {
                let begun = self.recorder.begin(Self::NODE, Action::remove(what.clone()));
                at_once(self.shared.remove(&what));
                begun
            }
            4..6 => {
                self.written += 1;
                // No row of the database has it.
                let value = 1_000_000 + self.written;
                let begun = self.recorder.begin(Self::NODE, Action::write(key, value));
                let entry = Entry::encode(&value, &Policy::ttl(MS * 60_000)).unwrap();
                at_once(self.shared.store(key, entry));
                begun
            }
            _ => return,
        };
        if tells {
            at_once(self.bus.publish(&what));
        }
        begun.end();
    }
}

fn at_once<T>(call: impl Future<Output = Result<T, CacheError>>) {
    drop(call.now_or_never().unwrap().unwrap());
}

async fn history(seed: u64, faults: Faults) -> History {
    let (restarts, hand) = (faults.restarts, faults.hand);
    let mut fleet = Fleet::new(seed, faults);
    let nodes = (0..3).map(|number| fleet.start(number)).collect();
    let mut hand = hand.then(|| Hand::of(&fleet));
    let options = Options::new().clock(&fleet.clock).recorder(&fleet.recorder);
    let fleet = Rc::new(RefCell::new(fleet));
    let (troubled, restarted, healed) = (fleet.clone(), fleet.clone(), fleet);
    let options = options.between_steps(move |_, rng| {
        troubled.borrow().trouble(rng);
        if let Some(hand) = &mut hand {
            hand.act(rng);
        }
    });
    let options = options.restarts(restarts, move |old, new, rng| {
        let mut fleet = restarted.borrow_mut();
        // Else it is dropped, and the loads that it has begun go on.
        if rng.bool() {
            fleet.kill(old);
        } else {
            fleet.ties.remove(&old);
        }
        fleet.start(new)
    });
    run(seed, nodes, options.at_end(move || healed.borrow().heal())).await
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

#[test]
fn p1_12_with_writes_and_removals_by_hand_in_the_far_tier() {
    let faults = Faults { hand: true, ..Faults::every() };
    explore(0..500, Mode::Told, async |seed| history(seed, faults.clone()).await);
}

#[test]
fn p1_12_nodes_are_killed_and_started_in_the_midst_of_it() {
    let faults = Faults { restarts: 0.01, hand: true, ..Faults::every() };
    explore(0..500, Mode::Told, async |seed| history(seed, faults.clone()).await);
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
    found(&Faults { planted: Place::NearFill, ..Faults::of(BusFaults::none()) });
}

#[test]
fn a_fill_without_its_lease_is_found() {
    found(&Faults { planted: Place::FarFill, ..Faults::of(BusFaults::none()) });
}

#[test]
fn a_near_tier_that_is_not_emptied_on_reconnect_is_found() {
    found(&Faults { planted: Place::Reconnect, ..Faults::every() });
}

#[test]
fn bugs_are_found_among_killed_nodes_and_other_hands() {
    for planted in [Place::NearFill, Place::FarFill, Place::Reconnect] {
        found(&Faults { restarts: 0.01, hand: true, planted, ..Faults::every() });
    }
}

/// What is not in the histories is not proved by them.
#[test]
fn refreshes_waits_for_other_nodes_and_decoded_values_are_in_the_histories() {
    for faults in [Faults::of(BusFaults::none()), Faults::every()] {
        let values = Arc::new(AtomicU64::new(0));
        let watched = Watched { values: Some(Arc::clone(&values)), ..Watched::default() };
        let faults = Faults { watched, ..faults };
        let wrong = find(0..64, Mode::Told, async |seed| history(seed, faults.clone()).await);
        assert_eq!(wrong, None);
        let seen = &faults.watched.seen;
        for (what, count) in [
            ("a refresh ahead of time that was committed", &seen.refreshed),
            ("a load that waits for another node's", &seen.held),
            ("a wait that ends because that is told", &seen.told),
            ("a hit on a decoded value", &*values),
        ] {
            let count = count.load(Ordering::Relaxed);
            assert!(count >= 100, "{what}: {count} in 64 histories");
            println!("{what}: {count}");
        }
    }
}

mod the_far_tier {
    use super::*;
    use cache_core::ReadThrough;
    use cache_testkit::{CacheHarness, Capabilities, Capability};

    /// It is a store like any other, with leases that exclude each other.
    async fn harness() -> CacheHarness {
        let clock = ManualClock::new();
        let store = FlakyCache::remote(SharedStore::new(&clock, &Arc::default()));
        let store = ReadThrough::new(store);
        let capabilities = Capabilities::in_process()
            .with(Capability::ExclusiveLeases)
            .without(Capability::LocalReads);
        CacheHarness::new(store).clock(clock).capabilities(capabilities)
    }
    cache_testkit::cache_conformance!(harness);
}
