//! Writes that are told to the other nodes: at once, with the write, or, if the same key was told of
//! just now, together with those that follow closely. Who wrote waits until it is told.
//!
//! A storm of writes to one key would else make every node that holds it read it again as often.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use cache_core::{CacheError, Clock, Timestamp};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

/// At most one message about writes of a key in this time.
const APART: Duration = Duration::from_millis(1);
/// What is to be told in a millisecond is told after so long in any case.
pub(crate) const NET: Duration = Duration::from_millis(25);
/// How long a write waits at least to be told with others.
pub(crate) const TOGETHER: Duration = Duration::from_millis(100);
/// Keys told of that are remembered before those are forgotten that were told of for long enough.
const REMEMBERED: usize = 1_024;

pub(crate) struct Teller {
    state: Mutex<State>,
    clock: Clock,
    /// Something was gathered.
    added: Arc<Notify>,
}

/// How telling went, once it has been tried.
pub(crate) type Told = Option<Result<(), CacheError>>;

/// Writes that are told together.
pub(crate) struct Gathered {
    pub(crate) keys: Vec<String>,
    told: watch::Sender<Told>,
}

impl Gathered {
    /// Answers those who wait for it.
    pub(crate) fn told(self, outcome: Result<(), CacheError>) {
        self.told.send_replace(Some(outcome));
    }
}

#[derive(Default)]
struct State {
    /// When each key was last told of.
    told: HashMap<String, Timestamp>,
    /// When they were last looked through for those that were told of for long enough.
    looked: Timestamp,
    /// Written and not told yet, and when they are to be.
    gathered: BTreeSet<String>,
    due: Option<Timestamp>,
    told_together: watch::Sender<Told>,
}

impl Teller {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { state: Mutex::default(), clock, added: Arc::default() }
    }

    /// Whether a write of the key is to be told now: the time for the next one begins then. If not,
    /// it is gathered once it is [added](Self::add).
    pub(crate) fn may_tell(&self, key: &str) -> bool {
        let now = self.clock.now();
        let mut state = self.state.lock();
        if state.gathered.contains(key) {
            return false;
        }
        match state.told.get_mut(key) {
            Some(told) if now < *told + APART => return false,
            Some(told) => *told = now,
            None => state.tell(key.to_owned(), now),
        }
        true
    }

    /// Writes that are to be told of with others, and where it is said how that went.
    pub(crate) fn add(&self, keys: impl IntoIterator<Item = String>) -> watch::Receiver<Told> {
        let due = self.clock.now() + APART;
        let mut state = self.state.lock();
        state.gathered.extend(keys);
        state.due.get_or_insert(due);
        let told = state.told_together.subscribe();
        drop(state);
        self.added.notify_one();
        told
    }

    /// Notified when something is added.
    pub(crate) fn added(&self) -> Arc<Notify> {
        Arc::clone(&self.added)
    }

    /// When there is something to tell, if there is.
    pub(crate) fn due(&self) -> Option<Timestamp> {
        self.state.lock().due
    }

    /// What is to be told, if it is time.
    pub(crate) fn take(&self) -> Option<Gathered> {
        let now = self.clock.now();
        let mut state = self.state.lock();
        if state.due.is_none_or(|due| now < due) {
            return None;
        }
        Some(state.take(now))
    }

    /// What is to be told, whether it is time or not.
    pub(crate) fn take_all(&self) -> Option<Gathered> {
        let now = self.clock.now();
        let mut state = self.state.lock();
        state.due.is_some().then(|| state.take(now))
    }
}

impl State {
    fn tell(&mut self, key: String, now: Timestamp) {
        // Of many keys at once none may be forgotten yet: they are not looked through for each of them.
        if self.told.len() >= REMEMBERED && now >= self.looked + APART {
            self.told.retain(|_, told| now < *told + APART);
            self.looked = now;
        }
        self.told.insert(key, now);
    }

    fn take(&mut self, now: Timestamp) -> Gathered {
        self.due = None;
        let keys: Vec<_> = std::mem::take(&mut self.gathered).into_iter().collect();
        keys.iter().for_each(|key| self.tell(key.clone(), now));
        Gathered { keys, told: std::mem::take(&mut self.told_together) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cache_core::ManualClock;

    #[test]
    fn a_key_at_once_and_its_next_writes_together() {
        let clock = ManualClock::new();
        let teller = Teller::new(clock.clock());
        for key in ["a", "b"] {
            assert!(teller.may_tell(key));
            for _ in 0..100 {
                assert!(!teller.may_tell(key));
                drop(teller.add([key.to_owned()]));
            }
        }
        assert!(teller.may_tell("c"), "others need not wait");
        assert!(teller.take().is_none());
        clock.advance(APART);
        assert!(teller.due().is_some_and(|due| due <= clock.now()));
        assert!(!teller.may_tell("a"), "what waits is told first");
        assert_eq!(teller.take().unwrap().keys, ["a", "b"]);
        assert!(teller.due().is_none() && !teller.may_tell("a"));
        let mut waits = teller.add(["a".to_owned()]);
        assert!(waits.borrow_and_update().is_none());
        let gathered = teller.take_all().unwrap();
        assert_eq!(gathered.keys, ["a"]);
        gathered.told(Ok(()));
        assert!(matches!(*waits.borrow_and_update(), Some(Ok(()))));
        assert!(teller.take_all().is_none() && teller.due().is_none());
        clock.advance(APART);
        assert!(teller.may_tell("a"));
    }

    #[test]
    fn many_keys_at_once_are_not_looked_through_for_each_of_them() {
        let clock = ManualClock::new();
        let teller = Teller::new(clock.clock());
        let begun = clock.now();
        let tell = |name: &str, keys: usize| {
            (0..keys).for_each(|key| assert!(teller.may_tell(&format!("{name}:{key}"))));
        };
        tell("first", REMEMBERED * 4);
        assert!(teller.state.lock().looked <= begun + APART);
        clock.advance(APART);
        tell("second", REMEMBERED);
        let state = teller.state.lock();
        assert_eq!((state.looked, state.told.len()), (clock.now(), REMEMBERED));
    }

    #[test]
    fn what_was_told_of_long_ago_is_forgotten() {
        let clock = ManualClock::new();
        let teller = Teller::new(clock.clock());
        for key in 0..REMEMBERED * 3 {
            assert!(teller.may_tell(&key.to_string()));
            clock.advance(APART);
        }
        assert!(teller.state.lock().told.len() <= REMEMBERED);
    }
}
