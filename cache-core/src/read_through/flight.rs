//! One load under way: what it has found so far, how it ended, and whoever waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

use super::flights::{self, Flights};
use crate::{CacheError, Entry, ErrorKind, Timestamp};

/// How a flight ended.
#[derive(Clone)]
pub(crate) enum Outcome {
    /// A fresh entry was there after all.
    Found(Entry),
    /// The loader made it.
    Loaded(Entry),
    /// The load failed, panicked or was given up.
    Failed(CacheError),
    /// It was not tried, for a reason that need not hold for all that wait.
    NotTried(CacheError),
}

#[derive(Default)]
struct State {
    /// An entry that was found on the way and may be served while the load goes on: one that is
    /// stale within its window, or fresh but due for a refresh.
    interim: Option<Entry>,
    outcome: Option<Outcome>,
    /// How often it has changed.
    version: u64,
}

impl State {
    fn change(&mut self, change: impl FnOnce(&mut Self)) {
        change(self);
        self.version += 1;
    }
}

fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The task that loads: one for all the flights that it ends.
pub(crate) struct Task {
    id: u64,
    /// When it will have come further, if it is run at all and what it calls keeps to its time.
    ends: AtomicU64,
}

impl Task {
    pub(crate) fn new(ends: Timestamp) -> Arc<Self> {
        Arc::new(Self { id: next_id(), ends: AtomicU64::new(ends.as_micros()) })
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// It has come further: what it does now ends by `ends`.
    pub(crate) fn renew(&self, ends: Timestamp) {
        self.ends.store(ends.as_micros(), Ordering::Relaxed);
    }

    pub(crate) fn ends(&self) -> Timestamp {
        Timestamp::from_micros(self.ends.load(Ordering::Relaxed))
    }
}

/// A handle to one load; clones are the same load.
#[derive(Clone)]
pub(crate) struct Flight(Arc<Inner>);

struct Inner {
    id: u64,
    task: Arc<Task>,
    state: watch::Sender<State>,
}

impl flights::Flight for Flight {
    fn id(&self) -> u64 {
        self.0.id
    }
}

impl Flight {
    /// One that `task` ends.
    pub(crate) fn new(task: Arc<Task>) -> Self {
        Self(Arc::new(Inner { id: next_id(), task, state: watch::Sender::new(State::default()) }))
    }

    /// The task that loads.
    pub(crate) fn task(&self) -> &Arc<Task> {
        &self.0.task
    }

    /// Lets waiters serve `entry` if their policy allows, while the load goes on.
    pub(crate) fn offer(&self, entry: Entry) {
        self.0.state.send_modify(|state| state.change(|state| state.interim = Some(entry)));
    }

    /// What was offered.
    pub(crate) fn interim(&self) -> Option<Entry> {
        self.0.state.borrow().interim.clone()
    }

    pub(crate) fn has_landed(&self) -> bool {
        self.0.state.borrow().outcome.is_some()
    }

    /// How often it has changed.
    pub(crate) fn version(&self) -> u64 {
        self.0.state.borrow().version
    }

    pub(crate) fn watch(&self) -> Watch {
        Watch(self.0.state.subscribe())
    }
}

/// What a waiter has seen of a flight.
pub(crate) struct Seen {
    /// An entry to serve meanwhile.
    pub(crate) interim: Option<Entry>,
    pub(crate) outcome: Option<Outcome>,
    /// The flight's, then.
    pub(crate) version: u64,
}

/// A waiter's view of a flight.
pub(crate) struct Watch(watch::Receiver<State>);

impl Watch {
    /// What the flight has by now.
    pub(crate) fn look(&mut self) -> Seen {
        let state = self.0.borrow_and_update();
        let State { interim, outcome, version } = &*state;
        Seen { interim: interim.clone(), outcome: outcome.clone(), version: *version }
    }

    /// Waits until there is something new to look at.
    pub(crate) async fn changed(&mut self) {
        // Fails only when the flight is gone, which its landing has told before.
        let _ = self.0.changed().await;
    }
}

/// The leader's duty to end the flight. Dropped without it (a panic, a runtime that shuts down),
/// it ends the flight with an error, so that nobody waits for ever.
pub(crate) struct Landing {
    flights: Arc<Flights<Flight>>,
    key: Arc<str>,
    flight: Flight,
    landed: bool,
}

impl Landing {
    pub(crate) fn new(flights: &Arc<Flights<Flight>>, key: Arc<str>, flight: Flight) -> Self {
        Self { flights: Arc::clone(flights), key, flight, landed: false }
    }

    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    pub(crate) fn flight(&self) -> &Flight {
        &self.flight
    }

    /// Ends the flight. It leaves the registry before anyone hears of the outcome, so that who
    /// hears of a failure and asks again starts a new load.
    pub(crate) fn land(mut self, outcome: Outcome) {
        self.finish(outcome);
    }

    fn finish(&mut self, outcome: Outcome) {
        self.landed = true;
        self.flights.land(&self.key, self.flight.0.id);
        let state = &self.flight.0.state;
        state.send_modify(|state| state.change(|state| state.outcome = Some(outcome)));
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        if !self.landed {
            let message = "the load was dropped before it ended: its runtime shut down, or the \
                           backend panicked";
            let error = CacheError::new(ErrorKind::Load, message).with_key(&self.key);
            self.finish(Outcome::Failed(error.with_retryable(true)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::flights::Boarding;
    use super::*;

    #[test]
    fn p9_however_many_loads_there_were_at_rest_the_registry_is_small() {
        let flights = Arc::new(Flights::new());
        let task = Task::new(Timestamp::MAX);
        let lead = |key: usize| match flights.board(&key.to_string(), || Flight::new(task.clone()))
        {
            Boarding::Led(key, flight) => Landing::new(&flights, key, flight),
            Boarding::Joined(_) => panic!("nobody loads it"),
        };
        let all = || (0..100_000).map(lead).collect::<Vec<_>>();
        type End = fn(&Flights<Flight>, Vec<Landing>);
        let ends: [End; 3] = [
            |_, landings| drop(landings),
            |flights, landings| landings.iter().for_each(|landing| flights.detach(landing.key())),
            |flights, _landings| flights.detach_where(|_| true),
        ];
        for end in ends {
            let landings = all();
            assert!(flights.room() >= 100_000);
            end(&flights, landings);
            assert_eq!(flights.len(), 0);
            assert!(flights.room() <= 64 << 10, "room for {}", flights.room());
        }
    }
}
