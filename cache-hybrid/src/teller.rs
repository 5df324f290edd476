//! Writes that are told to the other nodes: at once, or together with those that follow closely.
//!
//! A storm of writes to one key would else make every node that holds it read it again as often.

use std::collections::BTreeSet;
use std::time::Duration;

use cache_core::{Clock, Timestamp};
use parking_lot::Mutex;

/// At most one message about writes in this time.
const APART: Duration = Duration::from_millis(1);

pub(crate) struct Teller {
    state: Mutex<State>,
    clock: Clock,
}

#[derive(Default)]
struct State {
    /// Written and not told yet.
    keys: BTreeSet<String>,
    next: Option<Timestamp>,
}

impl Teller {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { state: Mutex::default(), clock }
    }

    /// Whether a write may be told now, by itself: the time for the next one begins then.
    pub(crate) fn may_tell(&self) -> bool {
        let now = self.clock.now();
        let mut state = self.state.lock();
        let may = state.keys.is_empty() && state.next.is_none_or(|next| now >= next);
        if may {
            state.next = Some(now + APART);
        }
        may
    }

    /// A write that is to be told with others.
    pub(crate) fn add(&self, keys: impl IntoIterator<Item = String>) {
        self.state.lock().keys.extend(keys);
    }

    /// When there is something to tell, if there is.
    pub(crate) fn due(&self) -> Option<Timestamp> {
        let state = self.state.lock();
        if state.keys.is_empty() { None } else { Some(state.next.unwrap_or(Timestamp::ZERO)) }
    }

    /// What is to be told, if it is time.
    pub(crate) fn take(&self) -> Option<Vec<String>> {
        let now = self.clock.now();
        let mut state = self.state.lock();
        if state.keys.is_empty() || state.next.is_some_and(|next| now < next) {
            return None;
        }
        state.next = Some(now + APART);
        Some(std::mem::take(&mut state.keys).into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cache_core::ManualClock;

    #[test]
    fn one_at_once_the_others_together() {
        let clock = ManualClock::new();
        let teller = Teller::new(clock.clock());
        assert!(teller.may_tell());
        for _ in 0..100 {
            assert!(!teller.may_tell());
            teller.add(["a".to_owned(), "b".to_owned()]);
        }
        assert!(teller.take().is_none());
        clock.advance(APART);
        assert!(teller.due().is_some_and(|due| due <= clock.now()));
        assert!(!teller.may_tell(), "what waits is told first");
        assert_eq!(teller.take().unwrap(), ["a", "b"]);
        assert!(teller.due().is_none() && !teller.may_tell());
        clock.advance(APART);
        assert!(teller.may_tell());
    }
}
