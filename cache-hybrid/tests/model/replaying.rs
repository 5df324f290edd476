//! Invalidations that the far tier has missed, added by some threads and replayed by others.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cache_core::Selector;
use shuttle::thread;

use crate::replay::{Beyond, Kind, Owed, Replay};
use crate::{exhaustively, randomly};

struct Tier {
    owed: Replay,
    /// For each change whether the far tier still has what was there before.
    missed: [AtomicBool; 4],
}

type What = fn() -> Selector;

/// The key that a change is about, and what is owed for it.
const CHANGES: [(&str, What); 4] = [
    ("a:1", || Selector::key("a:1")),
    ("a:1", || Selector::Prefix("a:".into())),
    ("a:2", || Selector::key("a:2")),
    ("b:1", || Selector::All),
];

impl Tier {
    fn new() -> Arc<Self> {
        Arc::new(Self { owed: Replay::new(8, Beyond::DropsOldest), missed: Default::default() })
    }

    /// A change that fails, and a look whether the far tier may be asked.
    fn miss(&self, number: usize) {
        let (key, what) = CHANGES[number];
        self.missed[number].store(true, Ordering::SeqCst);
        self.owed.add(&what());
        self.look(key, number);
    }

    fn look(&self, key: &str, number: usize) {
        if self.owed.owed([key]) == Owed::Nothing {
            let missed = self.missed[number].load(Ordering::SeqCst);
            assert!(!missed, "nothing is said to be owed of {key}");
        }
    }

    fn remove(&self, what: &Selector) {
        for ((key, _), missed) in CHANGES.iter().zip(&self.missed) {
            if what.matches(key) {
                missed.store(false, Ordering::SeqCst);
            }
        }
    }

    fn replay(&self) {
        Kind::BOTH.into_iter().for_each(|kind| self.replay_of(kind));
    }

    fn replay_of(&self, kind: Kind) {
        for batch in self.owed.batches_of(kind) {
            self.remove(&batch.what);
            // Where a call would take its time.
            thread::yield_now();
            self.owed.done(&batch);
        }
    }

    /// A bug.
    fn replay_once_it_is_done(&self) {
        for batch in self.owed.batches() {
            self.owed.done(&batch);
            thread::yield_now();
            self.remove(&batch.what);
        }
    }

    fn assert_replayed(&self) {
        self.replay();
        assert_eq!(self.owed.len(), 0);
        for (number, (key, _)) in CHANGES.iter().enumerate() {
            self.look(key, number);
        }
        assert!(self.missed.iter().all(|missed| !missed.load(Ordering::SeqCst)), "one was lost");
    }
}

type Call = fn(&Tier);

fn at_once(calls: &[Call]) {
    let tier = Tier::new();
    let spawn = |call: Call| {
        let tier = Arc::clone(&tier);
        thread::spawn(move || call(&tier))
    };
    let threads: Vec<_> = calls.iter().map(|call| spawn(*call)).collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    tier.assert_replayed();
}

#[test]
fn p5_07_what_is_missed_during_a_replay_is_replayed_every_interleaving() {
    exhaustively(|| {
        let again: Call = |tier| {
            tier.miss(0);
            tier.miss(0);
        };
        at_once(&[again, |tier| tier.replay()]);
    });
}

#[test]
fn p5_07_keys_prefixes_and_all_of_it_are_missed_and_replayed_at_once() {
    randomly(|| {
        let keys: Call = |tier| {
            tier.miss(0);
            tier.miss(2);
            tier.miss(0);
        };
        let sweeps: Call = |tier| {
            tier.miss(1);
            tier.miss(3);
        };
        let replays: Call = |tier| {
            tier.replay();
            tier.replay();
        };
        // The bus is told by several at once, and the far tier of keys by one and of the rest by one.
        at_once(&[keys, sweeps, replays, replays]);
        at_once(&[
            keys,
            sweeps,
            |tier| tier.replay_of(Kind::Keys),
            |tier| {
                tier.replay_of(Kind::Sweeps);
            },
        ]);
    });
}

#[test]
#[should_panic(expected = "nothing is said to be owed")]
fn a_replay_that_is_done_too_early_is_found() {
    exhaustively(|| at_once(&[|tier| tier.miss(0), |tier| tier.replay_once_it_is_done()]));
}
