//! Invalidations that did not reach the far tier or the bus, kept until they do.
//!
//! Rules:
//!
//! 1. Each key is kept once, with its last invalidation; so is each prefix. Everything covers the
//!    rest.
//! 2. There is a bound; beyond it the oldest is dropped and counted.
//! 3. What is added while a replay is under way is replayed again: the replay may have come first.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use cache_core::Selector;
use parking_lot::Mutex;

/// Keys that are replayed with one removal.
const BATCH: usize = 512;

pub(crate) struct Replay {
    queue: Mutex<Queue>,
    /// How many are kept, to be read without the lock.
    len: AtomicUsize,
    capacity: usize,
    dropped: AtomicU64,
}

#[derive(Default)]
struct Queue {
    /// By age.
    kept: BTreeMap<u64, What>,
    numbers: HashMap<What, u64>,
    last: u64,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum What {
    Key(String),
    Prefix(String),
    All,
}

/// What is to be removed at a time, and which of the kept are done with then.
pub(crate) struct Batch {
    pub(crate) what: Selector,
    numbers: Vec<u64>,
}

impl Queue {
    fn forget(&mut self, number: u64) {
        if let Some(what) = self.kept.remove(&number) {
            self.numbers.remove(&what);
        }
    }

    fn add(&mut self, what: What) {
        if let Some(number) = self.numbers.get(&what).copied() {
            self.forget(number);
        }
        self.last += 1;
        self.kept.insert(self.last, what.clone());
        self.numbers.insert(what, self.last);
    }
}

impl Replay {
    pub(crate) fn new(capacity: usize) -> Self {
        let (queue, len) = (Mutex::default(), AtomicUsize::new(0));
        Self { queue, len, capacity: capacity.max(1), dropped: AtomicU64::new(0) }
    }

    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, what: &Selector) {
        let mut queue = self.queue.lock();
        match what {
            Selector::Keys(keys) => keys.iter().for_each(|key| queue.add(What::Key(key.clone()))),
            Selector::Prefix(prefix) => {
                let covered = |what: &What| match what {
                    What::Key(inner) | What::Prefix(inner) => inner.starts_with(prefix.as_str()),
                    What::All => false,
                };
                queue.kept.retain(|_, what| !covered(what));
                queue.numbers.retain(|what, _| !covered(what));
                queue.add(What::Prefix(prefix.clone()));
            }
            // Also what is not known yet: too much is removed rather than too little.
            _ => {
                queue.kept.clear();
                queue.numbers.clear();
                queue.add(What::All);
            }
        }
        while queue.kept.len() > self.capacity {
            let Some((&oldest, _)) = queue.kept.first_key_value() else { break };
            queue.forget(oldest);
            if self.dropped.fetch_add(1, Ordering::Relaxed) == 0 {
                tracing::warn!(
                    capacity = self.capacity,
                    "more invalidations fail than are kept for later: the oldest are dropped"
                );
            }
        }
        self.len.store(queue.kept.len(), Ordering::Release);
    }

    /// What is to be replayed next.
    pub(crate) fn next(&self) -> Option<Batch> {
        let queue = self.queue.lock();
        let (first, what) = queue.kept.first_key_value()?;
        let what = match what {
            What::All => Selector::All,
            What::Prefix(prefix) => Selector::Prefix(prefix.clone()),
            What::Key(_) => {
                let mut batch = Batch { what: Selector::All, numbers: Vec::new() };
                let mut keys = Vec::new();
                for (number, what) in queue.kept.iter().take(BATCH) {
                    let What::Key(key) = what else { break };
                    keys.push(key.clone());
                    batch.numbers.push(*number);
                }
                batch.what = Selector::Keys(keys);
                return Some(batch);
            }
        };
        Some(Batch { what, numbers: vec![*first] })
    }

    /// It has been replayed; what was added again meanwhile has another number and stays.
    pub(crate) fn done(&self, batch: &Batch) {
        let mut queue = self.queue.lock();
        batch.numbers.iter().for_each(|number| queue.forget(*number));
        self.len.store(queue.kept.len(), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(replay: &Replay) -> Vec<Selector> {
        let next = || {
            let batch = replay.next()?;
            replay.done(&batch);
            Some(batch.what)
        };
        std::iter::from_fn(next).collect()
    }

    fn keys(keys: &[&str]) -> Selector {
        Selector::Keys(keys.iter().map(|key| (*key).to_owned()).collect())
    }

    #[test]
    fn each_key_once_in_the_order_of_its_last() {
        let replay = Replay::new(10);
        replay.add(&keys(&["a", "b"]));
        replay.add(&Selector::Prefix("x".into()));
        replay.add(&keys(&["xy", "a"]));
        assert_eq!(replay.len(), 4);
        let prefix = Selector::Prefix("x".into());
        assert_eq!(drain(&replay), [keys(&["b"]), prefix, keys(&["xy", "a"])]);
        assert_eq!(replay.len(), 0);
        assert!(replay.queue.lock().numbers.is_empty());
    }

    #[test]
    fn what_covers_others_replaces_them() {
        let replay = Replay::new(10);
        replay.add(&keys(&["x1", "b"]));
        replay.add(&Selector::Prefix("x".into()));
        assert_eq!(replay.len(), 2);
        replay.add(&Selector::All);
        assert_eq!(drain(&replay), [Selector::All]);
    }

    #[test]
    fn the_oldest_goes_first() {
        let replay = Replay::new(3);
        replay.add(&keys(&["a", "b", "c", "d", "e"]));
        assert_eq!((replay.len(), replay.dropped()), (3, 2));
        assert_eq!(drain(&replay), [keys(&["c", "d", "e"])]);
    }

    #[test]
    fn what_is_added_during_a_replay_stays() {
        let replay = Replay::new(3);
        replay.add(&keys(&["a", "b"]));
        let batch = replay.next().unwrap();
        replay.add(&keys(&["a"]));
        replay.done(&batch);
        assert_eq!(drain(&replay), [keys(&["a"])]);
    }
}
