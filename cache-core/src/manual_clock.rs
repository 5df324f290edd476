//! A clock for tests.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;

use crate::{Clock, Timestamp};

/// A clock that stands still until a test moves it. Clones are one clock.
///
/// It starts at the system's time. [`advance`](Self::advance) wakes what sleeps on it, in the order
/// in which they were to wake and, of those, in which they fell asleep, so that a test with a seed
/// can be run again; the woken tasks run when the runtime next polls them, so a test that waits for
/// their effect awaits that effect, not a pause.
///
/// ```
/// use cache_core::{Clock, ManualClock};
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let manual = ManualClock::new();
/// let clock = Clock::from(&manual);
/// let sleeper = tokio::spawn(async move { clock.sleep(Duration::from_secs(3600)).await });
/// tokio::task::yield_now().await; // let it fall asleep
/// manual.advance(Duration::from_secs(3600));
/// sleeper.await.unwrap();
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    now: Timestamp,
    sleepers: BTreeMap<Place, Waker>,
    /// How many of them are guards.
    guards: usize,
    next: u64,
}

/// When a sleeper is to wake, and its number.
type Place = (Timestamp, u64);

impl ManualClock {
    /// A clock that stands at the system's present time.
    #[must_use]
    pub fn new() -> Self {
        Self::at(Clock::system().now())
    }

    /// A clock that stands at `start`.
    #[must_use]
    pub fn at(start: Timestamp) -> Self {
        let state = State { now: start, sleepers: BTreeMap::new(), guards: 0, next: 0 };
        Self(Arc::new(Mutex::new(state)))
    }

    /// Where it stands.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.0.lock().now
    }

    /// Moves it on by `duration` and wakes whoever slept until then.
    pub fn advance(&self, duration: Duration) {
        let mut state = self.0.lock();
        state.now = state.now + duration;
        let due = state.sleepers.range(..=(state.now, u64::MAX));
        let due: Vec<_> = due.map(|(_, waker)| waker.clone()).collect();
        drop(state);
        due.into_iter().for_each(Waker::wake);
    }

    /// This clock, as the [`Clock`] that builders take.
    #[must_use]
    pub fn clock(&self) -> Clock {
        Clock::from(self)
    }

    /// How many sleepers wait for it now: a test that wants to move time past a timer waits
    /// until the timer is there. Callers of a load are none, although they bound themselves too.
    #[must_use]
    pub fn sleepers(&self) -> usize {
        let state = self.0.lock();
        state.sleepers.len() - state.guards
    }

    pub(crate) fn sleep_until(&self, deadline: Timestamp) -> impl Future<Output = ()> + Send {
        Sleep { clock: self.clone(), deadline, guards: false, place: None }
    }

    /// As [`sleep_until`](Self::sleep_until), but not counted.
    pub(crate) fn guard_until(&self, deadline: Timestamp) -> impl Future<Output = ()> + Send {
        Sleep { clock: self.clone(), deadline, guards: true, place: None }
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

struct Sleep {
    clock: ManualClock,
    deadline: Timestamp,
    guards: bool,
    /// Where its waker is, once it has been polled.
    place: Option<Place>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let sleep = &mut *self;
        let mut state = sleep.clock.0.lock();
        if state.now >= sleep.deadline {
            return Poll::Ready(());
        }
        let place = *sleep.place.get_or_insert_with(|| {
            state.next += 1;
            state.guards += usize::from(sleep.guards);
            (sleep.deadline, state.next)
        });
        let replaced = state.sleepers.insert(place, context.waker().clone());
        drop(state);
        // Only now: a waker may be the last handle of a task that sleeps too.
        drop(replaced);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            let mut state = self.clock.0.lock();
            let waker = state.sleepers.remove(&place);
            state.guards -= usize::from(self.guards);
            drop(state);
            // After the lock, as above.
            drop(waker);
        }
    }
}
