//! What a shard knows of its keys: who holds them and who waits. Plain data, no lock, no clock of
//! its own, nothing that waits.
//!
//! Rules:
//! 1. A key is in the map exactly while it has a holder: a queue without a holder does not exist,
//!    nor does an entry without either.
//! 2. Whoever ends a holder (its release, a cancelled grant, a lease found over, force) makes the
//!    head of the queue the holder in the same step. Nobody else becomes a holder while a queue
//!    is there: order of arrival is order of grants.
//! 3. A place is drawn on arrival, under the shard's lock, and is larger than every one before.
//!    So queues are sorted by place, and a place serves as the grant's fencing token.
//! 4. A place is in the queue, or the holder, or gone.
//! 5. No waker is called, cloned or dropped here: they are handed out, for after the unlock.
//! 6. A lease may end at any moment, while this runs too: time passes, and a guard ends its lease
//!    before it comes here to leave. So no step asks twice and takes the answers to agree.

use std::collections::VecDeque;
use std::task::Waker;
use std::time::Duration;

use cache_core::{Clock, FencingToken, LockLease, LockOptions, Timestamp};
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

/// An empty map keeps room for this many keys and gives the rest back.
const KEPT_CAPACITY: usize = 64;

/// The coarse clock is some milliseconds behind, a second where a machine is held up.
const LONG: Duration = Duration::from_secs(10);

/// A key as its table looks for it: hashed once, for the shard and for the place in it.
#[derive(Clone, Copy)]
pub(crate) struct Name<'a> {
    pub(crate) key: &'a str,
    pub(crate) hash: u64,
}

/// What a caller asks for, fixed on arrival, counted from the grant.
#[derive(Clone, Copy)]
pub(crate) struct Terms {
    lease: Duration,
    /// With renewal a lease is as good as `max_hold` here: nothing but the process itself could
    /// stop the renewals.
    valid: Duration,
    max_hold: Duration,
    task: Option<tokio::task::Id>,
    /// Whether it is measured how long the lock is waited for and held.
    pub(crate) timed: bool,
}

impl Terms {
    pub(crate) fn of(options: &LockOptions) -> Self {
        let (lease, max_hold) = (options.lease_duration(), options.max_hold_duration());
        let valid = if options.renews() { max_hold } else { lease };
        Self { lease, valid, max_hold, task: tokio::task::try_id(), timed: is_turn() }
    }

    /// When a grant at this moment begins: not after it, and, to be quick about it, a little before
    /// where that is small beside how long it is valid.
    pub(crate) fn begin(&self, clock: &Clock) -> Timestamp {
        if self.valid < LONG || self.timed { clock.now() } else { clock.coarse_now() }
    }
}

/// Whether the next lock of this thread is to be measured: two readings of the clock would be a third
/// of what a free lock costs.
#[cfg(feature = "metrics")]
fn is_turn() -> bool {
    const EVERY: u32 = 16;
    thread_local! {
        static TURNS: cache_core::Turns = const { cache_core::Turns::new() };
    }
    TURNS.with(|turns| turns.is_due(EVERY))
}

#[cfg(not(feature = "metrics"))]
fn is_turn() -> bool {
    false
}

struct Waiter {
    place: u64,
    terms: Terms,
    /// `None` until the waiter first looks.
    waker: Option<Waker>,
}

#[derive(Clone)]
pub(crate) struct Holder {
    pub(crate) lease: LockLease,
    pub(crate) since: Timestamp,
    pub(crate) task: Option<tokio::task::Id>,
    timed: bool,
}

impl Holder {
    fn new(key: &str, place: u64, terms: Terms, clock: &Clock, now: Timestamp) -> Self {
        let (valid, hold) = (now + terms.valid, now + terms.max_hold);
        let token = FencingToken(place);
        let lease = LockLease::with_span(key, token, clock, valid, hold, terms.lease);
        Self { lease, since: now, task: terms.task, timed: terms.timed }
    }

    fn has(&self, place: u64) -> bool {
        self.lease.fencing_token().0 == place
    }
}

struct Key {
    hash: u64,
    holder: Holder,
    queue: VecDeque<Waiter>,
}

impl Key {
    /// Rule 2: the head of the queue, if there is one, becomes the holder.
    fn hand_over(&mut self, clock: &Clock) -> Option<Waiter> {
        let head = self.queue.pop_front()?;
        let now = clock.now();
        self.holder = Holder::new(self.text(), head.place, head.terms, clock, now);
        Some(head)
    }

    /// If the holder's lease is over, the head of the queue takes over.
    fn take_over(&mut self, clock: &Clock) -> Option<Waker> {
        match self.holder.lease.deadline() {
            Some(_) => None,
            None => self.hand_over(clock)?.waker,
        }
    }

    /// As its holder's lease has it: a name of its own would be one more to count with each grant.
    fn text(&self) -> &str {
        self.holder.lease.key()
    }

    fn is(&self, name: Name<'_>) -> bool {
        self.hash == name.hash && self.text() == name.key
    }

    fn find(&self, place: u64) -> Option<usize> {
        self.queue.binary_search_by_key(&place, |waiter| waiter.place).ok()
    }
}

/// How an arrival ended.
pub(crate) enum Entered {
    Granted(LockLease),
    Queued(u64),
    /// Held, and the caller did not want to queue.
    Held,
    Closed,
}

/// What a waiter sees.
pub(crate) enum Look {
    Granted(LockLease),
    /// Nothing changes by itself before the holder's lease ends.
    Waiting {
        holder_ends: Timestamp,
    },
    /// It was granted, and ended before the waiter looked.
    Gone,
    Closed,
}

#[derive(Default)]
pub(crate) struct State {
    /// By name. A table and not a map: a key knows its name, and whoever comes or goes is to look
    /// for it once.
    keys: HashTable<Key>,
    closed: bool,
    /// How many were granted on arrival.
    granted: u64,
}

/// What there is to do after someone has left, outside the lock.
#[derive(Default)]
pub(crate) struct Left {
    /// The next holder's waker, to be called.
    pub(crate) next: Option<Waker>,
    /// The waker of a waiter that went, to be dropped.
    pub(crate) gone: Option<Waker>,
    /// Since when a holder that is measured had the lock.
    pub(crate) held_since: Option<Timestamp>,
}

impl State {
    /// A caller arrives; `draw` gives it its place. The waker is of a waiter that took over.
    pub(crate) fn enter(
        &mut self,
        name: Name<'_>,
        terms: Terms,
        queues: bool,
        clock: &Clock,
        now: Timestamp,
        draw: impl FnOnce(Timestamp) -> u64,
    ) -> (Entered, Option<Waker>) {
        if self.closed {
            return (Entered::Closed, None);
        }
        let mut found = match self.keys.entry(name.hash, |key| key.is(name), |key| key.hash) {
            Entry::Occupied(found) => found,
            Entry::Vacant(free) => {
                let holder = Holder::new(name.key, draw(now), terms, clock, now);
                let lease = holder.lease.clone();
                self.granted += 1;
                free.insert(Key { hash: name.hash, holder, queue: VecDeque::new() });
                return (Entered::Granted(lease), None);
            }
        };
        let key = found.get_mut();
        let mut wake = None;
        // Asked once (rule 6).
        if key.holder.lease.deadline().is_none() {
            match key.hand_over(clock) {
                Some(head) => wake = head.waker,
                None => {
                    self.granted += 1;
                    key.holder = Holder::new(name.key, draw(now), terms, clock, now);
                    return (Entered::Granted(key.holder.lease.clone()), None);
                }
            }
        }
        if !queues {
            return (Entered::Held, wake);
        }
        let place = draw(now);
        key.queue.push_back(Waiter { place, terms, waker: None });
        (Entered::Queued(place), wake)
    }

    /// The waiter at `place` looks and leaves its waker. Handed out: the waker of a waiter that
    /// took over, to be called, and the one replaced, to be dropped.
    pub(crate) fn look(
        &mut self,
        name: Name<'_>,
        place: u64,
        waker: Waker,
        clock: &Clock,
    ) -> (Look, Option<Waker>, Option<Waker>) {
        let gone = if self.closed { Look::Closed } else { Look::Gone };
        let Some(key) = self.keys.find_mut(name.hash, |key| key.is(name)) else {
            return (gone, None, Some(waker));
        };
        let wake = if key.holder.has(place) { None } else { key.take_over(clock) };
        if key.holder.has(place) {
            return (Look::Granted(key.holder.lease.clone()), wake, Some(waker));
        }
        let holder_ends = key.holder.lease.deadline().unwrap_or(Timestamp::ZERO);
        let Some(waiter) = key.find(place).and_then(|index| key.queue.get_mut(index)) else {
            return (gone, wake, Some(waker));
        };
        let replaced = waiter.waker.replace(waker);
        (Look::Waiting { holder_ends }, wake, replaced)
    }

    /// Whoever has `place` goes: a holder releases, a waiter gives up.
    pub(crate) fn leave(&mut self, name: Name<'_>, place: u64, clock: &Clock) -> Left {
        let Ok(mut found) = self.keys.find_entry(name.hash, |key| key.is(name)) else {
            return Left::default();
        };
        let key = found.get_mut();
        if !key.holder.has(place) {
            let gone = key.find(place).and_then(|index| key.queue.remove(index)?.waker);
            return Left { gone, ..Left::default() };
        }
        let held_since = key.holder.timed.then_some(key.holder.since);
        match key.hand_over(clock) {
            Some(next) => Left { next: next.waker, held_since, ..Left::default() },
            None => {
                found.remove();
                if self.keys.is_empty() && self.keys.capacity() > 2 * KEPT_CAPACITY {
                    self.keys.shrink_to(KEPT_CAPACITY, |key| key.hash);
                }
                Left { held_since, ..Left::default() }
            }
        }
    }

    /// The holder, also one whose lease is over, and how many wait.
    pub(crate) fn inspect(&self, name: Name<'_>) -> Option<(Holder, usize)> {
        let found = self.keys.find(name.hash, |key| key.is(name));
        found.map(|key| (key.holder.clone(), key.queue.len()))
    }

    /// As [`inspect`](Self::inspect), of `limit` keys at most.
    pub(crate) fn list(&self, limit: usize) -> Vec<(Holder, usize)> {
        let keys = self.keys.iter().take(limit);
        keys.map(|key| (key.holder.clone(), key.queue.len())).collect()
    }

    /// Refuses everybody from now on; hands out the wakers of all who waited.
    pub(crate) fn close(&mut self) -> Vec<Waker> {
        self.closed = true;
        let queues = self.keys.iter_mut().flat_map(|key| key.queue.drain(..));
        queues.filter_map(|waiter| waiter.waker).collect()
    }

    pub(crate) fn granted(&self) -> u64 {
        self.granted
    }

    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }
}
