//! A [`State`] behind a mutex. Wakers are called and dropped after the unlock: what a waker does
//! is not known here, and it may come back for this very shard.

use std::task::Waker;

use cache_core::{Clock, Timestamp};

use crate::state::{Entered, Holder, Left, Look, Name, State, Terms};
use crate::sync::Mutex;

/// Aligned so that two shards never share a cache line (lines are fetched in pairs).
#[repr(align(128))]
pub(crate) struct Shard {
    state: Mutex<State>,
    clock: Clock,
}

impl Shard {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { state: Mutex::new(State::default()), clock }
    }

    pub(crate) fn enter(
        &self,
        name: Name<'_>,
        terms: Terms,
        queues: bool,
        now: Timestamp,
        draw: impl FnOnce(Timestamp) -> u64,
    ) -> Entered {
        let (entered, wake) = self.state.lock().enter(name, terms, queues, &self.clock, now, draw);
        wake_up(wake);
        entered
    }

    pub(crate) fn look(&self, name: Name<'_>, place: u64, waker: &Waker) -> Look {
        let waker = waker.clone();
        let (look, wake, _dropped) = self.state.lock().look(name, place, waker, &self.clock);
        wake_up(wake);
        look
    }

    /// Since when a holder that is measured had the lock.
    pub(crate) fn leave(&self, name: Name<'_>, place: u64) -> Option<Timestamp> {
        let Left { next, gone: _gone, held_since } =
            self.state.lock().leave(name, place, &self.clock);
        wake_up(next);
        held_since
    }

    /// How many were granted on arrival.
    pub(crate) fn granted(&self) -> u64 {
        self.state.lock().granted()
    }

    pub(crate) fn inspect(&self, name: Name<'_>) -> Option<(Holder, usize)> {
        self.state.lock().inspect(name)
    }

    pub(crate) fn list(&self, limit: usize) -> Vec<(Holder, usize)> {
        self.state.lock().list(limit)
    }

    pub(crate) fn close(&self) {
        let wakers = self.state.lock().close();
        wakers.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn len(&self) -> usize {
        self.state.lock().len()
    }
}

fn wake_up(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}
