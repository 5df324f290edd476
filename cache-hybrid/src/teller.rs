//! Writes that are told to the other nodes: at once, with the write, or, if the same key was told of
//! just now, together with those that follow closely.
//!
//! A storm of writes to one key would else make every node that holds it read it again as often.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use cache_core::{Clock, Timestamp};
use parking_lot::Mutex;

/// At most one message about writes of a key in this time.
const APART: Duration = Duration::from_millis(1);
/// Keys told of that are remembered before those are forgotten that were told of for long enough.
const REMEMBERED: usize = 1_024;

pub(crate) struct Teller {
    state: Mutex<State>,
    clock: Clock,
}

#[derive(Default)]
struct State {
    /// When each key was last told of.
    told: HashMap<String, Timestamp>,
    /// Written and not told yet, and when they are to be.
    gathered: BTreeSet<String>,
    due: Option<Timestamp>,
}

impl Teller {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { state: Mutex::default(), clock }
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

    /// Writes that are to be told of with others.
    pub(crate) fn add(&self, keys: impl IntoIterator<Item = String>) {
        let due = self.clock.now() + APART;
        let mut state = self.state.lock();
        state.gathered.extend(keys);
        state.due.get_or_insert(due);
    }

    /// When there is something to tell, if there is.
    pub(crate) fn due(&self) -> Option<Timestamp> {
        self.state.lock().due
    }

    /// What is to be told, if it is time.
    pub(crate) fn take(&self) -> Option<Vec<String>> {
        let now = self.clock.now();
        let mut state = self.state.lock();
        if state.due.is_none_or(|due| now < due) {
            return None;
        }
        let keys = state.take();
        keys.iter().for_each(|key| state.tell(key.clone(), now));
        Some(keys)
    }

    /// What is to be told, whether it is time or not.
    pub(crate) fn take_all(&self) -> Option<Vec<String>> {
        let keys = self.state.lock().take();
        if keys.is_empty() { None } else { Some(keys) }
    }
}

impl State {
    fn tell(&mut self, key: String, now: Timestamp) {
        if self.told.len() >= REMEMBERED {
            self.told.retain(|_, told| now < *told + APART);
        }
        self.told.insert(key, now);
    }

    fn take(&mut self) -> Vec<String> {
        self.due = None;
        std::mem::take(&mut self.gathered).into_iter().collect()
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
                teller.add([key.to_owned()]);
            }
        }
        assert!(teller.may_tell("c"), "others need not wait");
        assert!(teller.take().is_none());
        clock.advance(APART);
        assert!(teller.due().is_some_and(|due| due <= clock.now()));
        assert!(!teller.may_tell("a"), "what waits is told first");
        assert_eq!(teller.take().unwrap(), ["a", "b"]);
        assert!(teller.due().is_none() && !teller.may_tell("a"));
        teller.add(["a".to_owned()]);
        assert_eq!(teller.take_all().unwrap(), ["a"]);
        assert!(teller.take_all().is_none() && teller.due().is_none());
        clock.advance(APART);
        assert!(teller.may_tell("a"));
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
