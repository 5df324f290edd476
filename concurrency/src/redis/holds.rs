//! The locks that this process holds, and when each is to be looked at next.
//!
//! Rules:
//! 1. A hold is here from its grant until its guard is given back or its lease is over, whichever
//!    is first; then it is never renewed again.
//! 2. Each is due once: at its next renewal or at the end of its lease, whichever is first. When
//!    one is to be renewed, so are those that would be within a thirtieth of their leases.
//! 3. When a lease is over the hold's gate is opened, also while its guard lives on.
//! 4. Who looks is told when something is due before its next look, and only then: most locks are
//!    given back before anything is due, and cost no look.
//! 5. Where an answer takes half of what is left of a lease, the question is asked again beside it: an
//!    answer that is lost is not waited for to the lease's end, and one that is late still counts.
//! 6. Nothing is renewed before its caller has it: one that is not polled keeps a lock for a lease.
//! 7. No gate is opened under the mutex: that wakes others.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use cache_core::{Clock, FencingToken, LockGuard, Timestamp};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::hand_over::Turn;
use super::hold::{Hold, valid_until};

/// After a renewal that failed: the first pause, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(500));

/// No renewal is made earlier than this before it is due.
const LONGEST_SLACK: Duration = Duration::from_secs(1);

/// When a hold is renewed for the first time, once its caller has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Renewal {
    pub(crate) id: u64,
    pub(crate) at: Timestamp,
}

/// A hold that is to be renewed now.
#[derive(Clone)]
pub(crate) struct Due {
    pub(crate) id: u64,
    pub(crate) hold: Arc<Hold>,
    /// How often that has failed since it was last renewed.
    pub(crate) failures: u32,
}

/// How a renewal went.
pub(crate) enum Renewed {
    /// It was sent then, for so long.
    Until(Timestamp, Duration),
    /// The lock is not this hold's any more.
    Lost,
    /// Redis did not answer what was sent then, or refused.
    Failed(Timestamp),
}

/// See the head of the file.
#[derive(Default)]
pub(crate) struct Holds {
    state: Mutex<State>,
    /// Something is due before the next look.
    pub(crate) earlier: Notify,
}

#[derive(Default)]
struct State {
    holds: HashMap<u64, Entry>,
    due: BTreeSet<(Timestamp, u64)>,
    last: u64,
    /// When the next look comes; `None` while it is still to come by itself, before the first.
    next_look: Option<Timestamp>,
}

struct Entry {
    hold: Arc<Hold>,
    due: Timestamp,
    /// When to renew; while a renewal is under way, when to ask once more beside it.
    renew_at: Timestamp,
    /// When the last renewal was sent that has worked.
    renewed: Timestamp,
    /// How many have failed since.
    failures: u32,
}

impl Entry {
    fn to_renew(&self, id: u64) -> Due {
        Due { id, hold: Arc::clone(&self.hold), failures: self.failures }
    }

    /// When to ask again if what is asked now is not answered: rule 5.
    fn once_more(&self, now: Timestamp) -> Timestamp {
        let left = self.hold.lease.deadline().map_or(Duration::ZERO, |end| now.until(end));
        now + (left / 2).max(PAUSE.0)
    }
}

impl State {
    fn remove(&mut self, id: u64) -> Option<Arc<Hold>> {
        let entry = self.holds.remove(&id)?;
        self.due.remove(&(entry.due, id));
        Some(entry.hold)
    }

    /// Sets the time of the next look: the renewal, or the end of the lease.
    fn schedule(&mut self, id: u64, renew_at: Timestamp) {
        let Some(entry) = self.holds.get_mut(&id) else { return };
        self.due.remove(&(entry.due, id));
        let end = entry.hold.lease.deadline().unwrap_or(Timestamp::ZERO);
        (entry.renew_at, entry.due) = (renew_at, renew_at.min(end));
        self.due.insert((entry.due, id));
    }

    /// Adds those that are to be renewed soon.
    fn soon(&mut self, clock: &Clock, renew: &mut Vec<Due>) {
        let now = clock.now();
        let holds = &self.holds;
        let is_soon = |entry: &&Entry| entry.renew_at <= now + entry.hold.terms.lease / 30;
        let soon: Vec<_> = self
            .due
            .range(..=(now + LONGEST_SLACK, u64::MAX))
            .filter_map(|(_, id)| holds.get(id).filter(is_soon).map(|entry| (*id, entry)))
            .filter(|(_, entry)| entry.hold.next_lease(clock).is_some())
            .map(|(id, entry)| (entry.to_renew(id), entry.once_more(now)))
            .collect();
        for (due, once_more) in soon {
            self.schedule(due.id, once_more);
            renew.push(due);
        }
    }

    fn first(&self) -> Timestamp {
        self.due.first().map_or(Timestamp::MAX, |(due, _)| *due)
    }
}

/// When a lease sent then is to be renewed.
fn third(sent: Timestamp, lease: Duration) -> Timestamp {
    sent + lease / 3
}

impl Holds {
    /// A hold that is not to be renewed, or not yet.
    pub(crate) fn add(&self, hold: Arc<Hold>) -> u64 {
        let mut state = self.state.lock();
        state.last += 1;
        let id = state.last;
        let (due, renew_at, renewed) = (Timestamp::MAX, Timestamp::MAX, Timestamp::ZERO);
        state.holds.insert(id, Entry { hold, due, renew_at, renewed, failures: 0 });
        self.schedule(&mut state, id, renew_at);
        id
    }

    /// Its caller has it: it is renewed from now on.
    pub(crate) fn begin(&self, Renewal { id, at }: Renewal) {
        if at < Timestamp::MAX {
            self.schedule(&mut self.state.lock(), id, at);
        }
    }

    fn schedule(&self, state: &mut State, id: u64, renew_at: Timestamp) {
        state.schedule(id, renew_at);
        let first = state.first();
        if state.next_look.is_some_and(|next| first < next) {
            state.next_look = Some(first);
            self.earlier.notify_one();
        }
    }

    /// Its caller has waited for it, and may be told late that it is its turn.
    pub(crate) fn hears(&self, id: u64, turn: Turn) {
        let hold = self.state.lock().holds.get(&id).map(|entry| Arc::clone(&entry.hold));
        if let Some(hold) = hold {
            hold.hears(turn);
        }
    }

    /// The hold's guard is given back: it is not renewed any more once this returns.
    pub(crate) fn remove(&self, id: u64) {
        let removed = self.state.lock().remove(id);
        drop(removed);
    }

    /// The lock of this hold was taken away.
    pub(crate) fn take_away(&self, id: u64, hold: &Hold) {
        tracing::warn!(key = hold.lease.key(), "a lock was taken away");
        self.remove(id);
        hold.lose();
    }

    /// What is to be renewed now, and when to look again. Leases found over are done with.
    pub(crate) fn due(&self, clock: &Clock) -> (Vec<Due>, Timestamp) {
        let (mut renew, mut over) =
            (Vec::new(), Vec::<Option<(Option<LockGuard>, Option<Turn>)>>::new());
        let now = clock.now();
        let mut state = self.state.lock();
        while let Some((due, id)) = state.due.first().copied()
            && due <= now
        {
            let Some(entry) = state.holds.get(&id) else {
                state.due.remove(&(due, id));
                continue;
            };
            if entry.hold.lease.deadline().is_none() {
                over.push(state.remove(id).map(|hold| (hold.take_gate(), hold.take_turn())));
                continue;
            }
            let mut look = Timestamp::MAX;
            if entry.renew_at <= now && entry.hold.next_lease(clock).is_some() {
                renew.push(entry.to_renew(id));
                look = entry.once_more(now);
            }
            state.schedule(id, look);
        }
        if !renew.is_empty() {
            state.soon(clock, &mut renew);
        }
        let next = state.first();
        state.next_look = Some(next);
        drop(state);
        drop(over);
        (renew, next)
    }

    /// A renewal has ended.
    pub(crate) fn renewed(&self, id: u64, renewed: &Renewed, clock: &Clock) {
        let mut state = self.state.lock();
        let Some(entry) = state.holds.get_mut(&id) else { return };
        match *renewed {
            Renewed::Until(sent, lease) => {
                // Too late is too late: then the next look finds it over.
                entry.hold.lease.extend(valid_until(sent, lease));
                if sent >= entry.renewed {
                    (entry.renewed, entry.failures) = (sent, 0);
                    state.schedule(id, third(sent, lease));
                }
            }
            // What was asked later has worked.
            Renewed::Failed(sent) if sent < entry.renewed => {}
            Renewed::Failed(_) => {
                let pause = PAUSE.0.saturating_mul(1 << entry.failures.min(8)).min(PAUSE.1);
                entry.failures = entry.failures.saturating_add(1);
                state.schedule(id, clock.now() + pause);
            }
            Renewed::Lost => {
                let hold = state.remove(id);
                drop(state);
                if let Some(hold) = hold {
                    hold.lose();
                }
            }
        }
    }

    /// The hold of this lock with this fencing token.
    pub(crate) fn find(&self, key: &str, fence: FencingToken) -> Option<(u64, Arc<Hold>)> {
        let state = self.state.lock();
        let mut holds = state.holds.iter();
        let is_it = |hold: &Hold| hold.lease.key() == key && hold.lease.fencing_token() == fence;
        holds.find(|(_, entry)| is_it(&entry.hold)).map(|(id, entry)| (*id, entry.hold.clone()))
    }

    /// Whether there is a hold of this lock.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.state.lock().holds.values().any(|entry| entry.hold.lease.key() == key)
    }

    /// The hold of this token.
    pub(crate) fn of(&self, token: &str) -> Option<(u64, Arc<Hold>)> {
        let state = self.state.lock();
        let found = state.holds.iter().find(|(_, entry)| entry.hold.token == token);
        found.map(|(id, entry)| (*id, Arc::clone(&entry.hold)))
    }

    pub(crate) fn len(&self) -> usize {
        self.state.lock().holds.len()
    }
}
