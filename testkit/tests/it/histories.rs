//! Random histories: right caches pass, wrong ones are found, a seed replays.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use cache_core::{CacheService, CacheStore, ManualClock, Policy, ReadThrough, Timestamp};
use cache_quick::{QuickCacheService, QuickStore};
use cache_testkit::history::{
    Action, Client, Database, History, Mode, Node, Options, Reader, Recorder, check, explore, find,
    run,
};
use cache_testkit::{BusFaults, FlakyCache, LocalBus};

use crate::backend::{Bug, Leases, MapStore};
use crate::toy_hybrid::{self, Toy};

const MS: Duration = Duration::from_millis(1);
/// Within how many seeds a planted bug must be found.
const ENOUGH: u64 = 1_000;

fn manual() -> ManualClock {
    ManualClock::at(Timestamp::ZERO)
}

/// `count` engines over one store, each of whose operations has await points.
async fn over(
    seed: u64,
    count: usize,
    clock: &ManualClock,
    store: impl CacheStore + Clone,
) -> History {
    let node = |_| {
        let store = FlakyCache::new(store.clone());
        store.faults().when(|_| true).yields(1);
        store.faults().when(|_| true).after().yields(1);
        Node::new(Arc::new(ReadThrough::new(store)))
    };
    let options = Options::new().clock(clock).with_batches().with_absences();
    run(seed, (0..count).map(node).collect(), options).await
}

async fn over_map(seed: u64, count: usize, bug: Bug) -> History {
    let clock = manual();
    let store = MapStore::new(clock.clock()).with_bug(bug);
    let leases = if count > 1 { Leases::Exclusive } else { Leases::SideBySide };
    over(seed, count, &clock, Arc::new(store.with_leases(leases))).await
}

#[test]
fn p1_12_a_cache_in_memory() {
    explore(0..1_000, Mode::Strict, async |seed| {
        let clock = manual();
        let cache: Arc<dyn CacheService> =
            Arc::new(QuickCacheService::builder().clock(&clock).build());
        run(seed, vec![Node::new(cache)], Options::new().clock(&clock)).await
    });
}

#[test]
fn p1_12_a_cache_in_memory_with_await_points() {
    explore(0..1_000, Mode::Strict, async |seed| over_map(seed, 1, Bug::None).await);
}

#[test]
fn p1_12_engines_over_one_store() {
    explore(0..1_000, Mode::Shared, async |seed| over_map(seed, 3, Bug::None).await);
    explore(0..1_000, Mode::Shared, async |seed| {
        let clock = manual();
        let store: Arc<QuickStore> = Arc::new(QuickStore::builder().clock(&clock).build_store());
        over(seed, 3, &clock, store).await
    });
    // Engines that are told nothing let their callers join loads from before a removal elsewhere.
    let strict = find(0..ENOUGH, Mode::Strict, async |seed| over_map(seed, 3, Bug::None).await);
    let (_, violation) = strict.expect("a load is joined after a removal on another node");
    assert!(matches!(violation.read.action, Action::Read { by: Reader::Load, .. }), "{violation}");
}

/// Three toys over one far store, with what `faults` says going wrong on the bus, and now and then
/// a node that is off it.
async fn over_bus(seed: u64, faults: BusFaults, bug: toy_hybrid::Bug) -> History {
    over_bus_with(seed, faults, bug, Options::new().with_batches().with_absences()).await
}

async fn over_bus_with(
    seed: u64,
    faults: BusFaults,
    bug: toy_hybrid::Bug,
    options: Options,
) -> History {
    let (clock, recorder) = (manual(), Recorder::new());
    let far = FlakyCache::remote(MapStore::new(clock.clock()).with_leases(Leases::Exclusive));
    far.faults().when(|_| true).yields(1);
    far.faults().when(|_| true).after().yields(1);
    let far: Arc<dyn CacheStore> = Arc::new(far);
    let hub = LocalBus::lossy(seed, faults, &clock);
    let ends: Vec<_> = (0..3).map(|_| hub.node()).collect();
    let node = |(node, end): (usize, &Arc<_>)| {
        let bus = recorder.bus(node, Arc::clone(end) as _);
        Node::new(Arc::new(Toy::start(Arc::clone(&far), bus, bug)))
    };
    let nodes = ends.iter().enumerate().map(node).collect();
    let (healing, all) = (hub.clone(), ends.clone());
    let options = options.clock(&clock).recorder(&recorder);
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

fn every_fault() -> BusFaults {
    let late = BusFaults::none().delay(50 * MS).duplicate(0.1).reorder(0.1);
    late.lose(0.05).detection(50 * MS).outage(200 * MS)
}

#[test]
fn p1_12_near_tiers_kept_coherent_by_a_bus() {
    explore(0..1_000, Mode::Told, async |seed| {
        over_bus(seed, every_fault(), toy_hybrid::Bug::None).await
    });
}

#[test]
fn p1_12_silent_loss_is_what_no_mode_but_the_strict_one_can_see() {
    let faults = || BusFaults::none().lose_silently(0.2);
    let history = async |seed| over_bus(seed, faults(), toy_hybrid::Bug::None).await;
    assert_eq!(find(0..100, Mode::Told, history), None);
    find(0..100, Mode::Strict, history).expect("a node that was not told serves old values");
}

#[test]
fn p1_12_with_grace_what_a_node_holds_may_be_served_without_the_bus() {
    let bug = toy_hybrid::Bug::ServesWithoutBus;
    explore(0..300, Mode::ToldWithGrace, async |seed| over_bus(seed, every_fault(), bug).await);
}

#[test]
fn p1_12_in_real_time() {
    explore(0..50, Mode::Strict, async |seed| {
        let policies = [1, 5].map(|ttl| Policy::ttl(ttl * MS).stale_for(MS)).to_vec();
        let cache: Arc<dyn CacheService> = Arc::new(QuickCacheService::default());
        run(seed, vec![Node::new(cache)], Options::new().policies(policies)).await
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn p1_12_on_many_threads() {
    let (recorder, database) = (Recorder::new(), Database::new());
    let cache: Arc<dyn CacheService> = Arc::new(QuickCacheService::default());
    let tasks = (0..8).map(|seed| {
        let client = Client::new(&recorder, 0, Arc::clone(&cache));
        let (recorder, database) = (recorder.clone(), database.clone());
        tokio::spawn(async move {
            let mut rng = fastrand::Rng::with_seed(seed);
            for _ in 0..500 {
                let key = ["a", "b"][rng.usize(..2)];
                match rng.u8(..4) {
                    0 => {
                        database.write(key);
                        client.invalidate(key).await.unwrap();
                    }
                    1 => drop(client.get(key).await.unwrap()),
                    _ => {
                        let (recorder, database) = (recorder.clone(), database.clone());
                        let load = move || async move {
                            let value = recorder.load(0, key, || database.read(key));
                            tokio::task::yield_now().await;
                            Ok::<_, std::io::Error>(value)
                        };
                        client.get_or_load(key, None, load).await.unwrap();
                    }
                }
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    check(&recorder.history(), Mode::Strict).unwrap();
}

#[test]
fn planted_bugs_in_a_store_are_found_and_their_seeds_replay() {
    for bug in [
        Bug::FillIgnoresLease,
        Bug::AbsentIgnoresLease,
        Bug::RemoveRevokesNothing,
        Bug::PrefixRevokesNothing,
        Bug::ClearRevokesNothing,
        Bug::StoreRevokesNothing,
        Bug::StoreManyRevokesNothing,
        Bug::FillChecksThenWrites,
        Bug::RemoveThenRevokes,
    ] {
        for (nodes, mode) in [(1, Mode::Strict), (3, Mode::Shared)] {
            let history = async |seed| over_map(seed, nodes, bug).await;
            let (seed, violation) = find(0..ENOUGH, mode, history)
                .unwrap_or_else(|| panic!("{bug:?} is not found on {nodes} nodes"));
            println!("{bug:?} on {nodes}: seed {seed}: {violation}");
            for _ in 0..3 {
                assert_eq!(find(seed..seed + 1, mode, history), Some((seed, violation.clone())));
            }
        }
    }
}

#[test]
fn planted_bugs_in_a_hybrid_are_found_and_their_seeds_replay() {
    for bug in [
        toy_hybrid::Bug::CommitsUnchecked,
        toy_hybrid::Bug::NoFlushOnReconnect,
        toy_hybrid::Bug::ServesWithoutBus,
        toy_hybrid::Bug::FillsWithoutLease,
        toy_hybrid::Bug::TellsFirst,
    ] {
        let history = async |seed| over_bus(seed, every_fault(), bug).await;
        let (seed, violation) =
            find(0..ENOUGH, Mode::Told, history).unwrap_or_else(|| panic!("{bug:?} is not found"));
        println!("{bug:?}: seed {seed}: {violation}");
        for _ in 0..3 {
            let again = find(seed..seed + 1, Mode::Told, history);
            assert_eq!(again, Some((seed, violation.clone())));
        }
    }
}

/// What a node was not told of does not count for it: so one that does not listen is refused.
#[test]
fn a_node_that_does_not_listen_to_its_bus_fails_the_run() {
    for (bug, words) in [
        (toy_hybrid::Bug::NeverSubscribes, "does not listen to its bus"),
        (toy_hybrid::Bug::StopsListening, "does not listen to its bus"),
        (toy_hybrid::Bug::StopsAsking, "does not deal with what its bus has told it"),
    ] {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let test = || {
            let impatient = Options::new().patience(1_000 * MS);
            runtime.block_on(over_bus_with(1, BusFaults::none(), bug, impatient))
        };
        let panic = catch_unwind(AssertUnwindSafe(test)).expect_err("it went unnoticed");
        let said = panic.downcast_ref::<String>().expect("a message");
        assert!(said.contains(words), "{bug:?}: {said}");
    }
}

#[test]
fn a_seed_gives_the_same_history_again() {
    let once = |seed| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(over_bus(seed, every_fault(), toy_hybrid::Bug::None))
    };
    for seed in 0..50 {
        let (first, again) = (once(seed), once(seed));
        let differs = first.records().iter().zip(again.records()).find(|(one, other)| one != other);
        assert_eq!(differs, None, "seed {seed}");
    }
    assert_ne!(once(0), once(1));
}

#[test]
fn the_driver_does_everything_there_is_to_do() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let history = runtime.block_on(over_map(1, 3, Bug::None));
    let count = |which: fn(&Action) -> bool| {
        history.records().iter().filter(|record| which(&record.action)).count()
    };
    assert!(count(|action| matches!(action, Action::Write { .. })) > 10);
    assert!(count(|action| matches!(action, Action::Load { .. })) > 10);
    assert!(count(|action| matches!(action, Action::Remove(_))) > 10);
    let read =
        |action: &Action| matches!(action, Action::Read { found: Some(_), by: Reader::Get, .. });
    assert!(count(read) > 10);
    assert!(count(|action| matches!(action, Action::Read { found: Some(_), .. })) > 50);
    assert!(history.records().iter().any(|record| record.ended.is_none()));
}
