//! How the far tier and the bus get what they have missed.
//!
//! Rules:
//!
//! 1. What is asked of the far tier comes after what it has missed of the same keys.
//! 2. Keys have a turn and sweeps have one, a task each: who waits for a key waits for no sweep, nor
//!    does anybody for a sweep that others have begun.
//! 3. A turn ends by itself, or with the store: it holds that weakly while the far tier is asked.
//! 4. A removal may be what fails, and not the far tier: it is tried apart from the circuit breaker, and
//!    one of many keys is tried key by key, many of them at once and none in step with others: one that
//!    hangs takes all the time that a call has. What fails goes behind the rest: a turn ends where nothing
//!    but failures are, and the next one begins with others. Turns that fail are apart by more and
//!    more, until the breaker closes or a turn goes well: so one removal that goes on failing is not
//!    tried with every call.

use std::collections::VecDeque;
use std::future::ready;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use cache_core::{CacheError, CacheStore, Clock, ErrorKind, Lease, Selector, Timestamp};
use futures_util::future::join_all;
use futures_util::stream::{self, FuturesUnordered, StreamExt, TryStreamExt};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::breaker::Breaker;
use crate::inner::Inner;
use crate::replay::{Batch, Kind, Owed};
use crate::spans::Asked;

/// How long a removal by prefix may take when it is replayed and nobody waits: given up sooner, a long
/// one would begin anew for ever. Each step of it has a budget of its own.
const SWEEP_BUDGET: Duration = Duration::from_secs(3_600);

/// How many calls of a kind are under way together.
const AT_ONCE: usize = 16;

/// How many removals of one key are: of those that hang, so many per budget of a call.
const KEYS_AT_ONCE: usize = 128;

/// How many removals of one key or prefix that have begun since the last success may fail before a turn
/// ends: if they take as long as one call may, and if they take less.
const FAILURES: (usize, usize) = (5, 256);

/// Between turns that fail: the first pause, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(1));

/// Who replays what the far tier has missed.
#[derive(Default)]
pub(crate) struct Turns {
    keys: Turn,
    sweeps: Turn,
}

struct Turn {
    /// By a task.
    taken: Arc<AtomicBool>,
    /// Whether its last step went well: changes with each.
    went_well: watch::Sender<bool>,
    failed: Mutex<Failed>,
}

/// The right to a turn, which its task gives back.
struct Taken(Arc<AtomicBool>);

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// Turns that failed in a row.
#[derive(Default)]
struct Failed {
    pause: Duration,
    /// When there may be another one, unless the breaker has closed since then.
    until: Timestamp,
    closings: u64,
}

impl Default for Turn {
    fn default() -> Self {
        Self {
            taken: Arc::default(),
            went_well: watch::Sender::new(true),
            failed: Mutex::default(),
        }
    }
}

impl Turn {
    fn take(&self) -> Option<Taken> {
        (!self.taken.swap(true, Ordering::AcqRel)).then(|| Taken(Arc::clone(&self.taken)))
    }

    fn is_taken(&self) -> bool {
        self.taken.load(Ordering::Acquire)
    }

    /// Whether it is too soon for another one.
    fn rests(&self, clock: &Clock, breaker: &Breaker) -> bool {
        let failed = self.failed.lock();
        !failed.pause.is_zero()
            && clock.now() < failed.until
            && failed.closings == breaker.closings()
    }

    fn ended(&self, went_well: bool, clock: &Clock, breaker: &Breaker) {
        let mut failed = self.failed.lock();
        if went_well {
            return *failed = Failed::default();
        }
        let (first, longest) = PAUSES;
        failed.pause = (failed.pause * 2).clamp(first, longest);
        failed.until = clock.now() + failed.pause;
        failed.closings = breaker.closings();
    }
}

/// How much a caller wants what it asks for to be replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effort {
    /// It waits for no sweep that others have begun, which may take long, and begins none too soon
    /// after one that failed.
    Normal,
    /// It is the last one.
    Last,
}

impl Turns {
    fn of(&self, kind: Kind) -> &Turn {
        match kind {
            Kind::Keys => &self.keys,
            Kind::Sweeps => &self.sweeps,
        }
    }
}

impl Inner {
    /// Has what the far tier has missed replayed, until nothing is owed of what the caller asks for:
    /// what the far tier holds of it may be out of date till then.
    pub(crate) async fn caught_up(
        &self,
        owed: impl Fn() -> Owed,
        budget: Duration,
        effort: Effort,
    ) -> Result<(), CacheError> {
        let (until, mut swept) = (self.clock.now() + budget, effort == Effort::Last);
        loop {
            let kind = match owed() {
                Owed::Nothing => return Ok(()),
                Owed::Key => Kind::Keys,
                Owed::Sweep => Kind::Sweeps,
            };
            let mut steps = self.turns.of(kind).went_well.subscribe();
            // Nobody asks it, nor would it be asked now.
            let refused =
                self.far_breaker.refuses() || (effort == Effort::Normal && self.rests(kind));
            if refused && !self.turns.of(kind).is_taken() {
                return Err(behind());
            }
            let begun = self.begin_replay(kind);
            if kind == Kind::Sweeps {
                swept |= begun;
                if !swept {
                    return Err(behind());
                }
            }
            let went_well = tokio::select! {
                biased;
                _ = steps.changed() => *steps.borrow_and_update(),
                () = self.clock.sleep_until(until) => false,
            };
            // Another step may have failed, after that for which this waits.
            if !went_well && owed() != Owed::Nothing {
                return Err(behind());
            }
        }
    }

    /// Whether the last turn of the kind has failed only just now.
    pub(crate) fn rests(&self, kind: Kind) -> bool {
        self.turns.of(kind).rests(&self.clock, &self.far_breaker)
    }

    /// Begins to replay what the far tier has missed, unless that is under way; then the bus is told of
    /// it.
    ///
    /// In a task of its own, on the runtime that attends to the store: neither calls nor the bus wait for a
    /// sweep, and one that was given up with its caller, or with its caller's runtime, would begin anew with
    /// each, or never end.
    pub(crate) fn begin_replay(&self, kind: Kind) -> bool {
        let Some(runtime) = self.runtime.get() else { return false };
        let Some(turn) = self.turns.of(kind).take() else { return false };
        let mut tasks = self.tasks.lock();
        tasks.retain(|task| !task.is_finished());
        tasks.push(runtime.spawn(replay(self.own.clone(), kind, turn)).abort_handle());
        true
    }

    /// Asks the far tier for a removal again, without holding on to the store.
    fn replay_of<'a>(
        &self,
        what: &'a Selector,
    ) -> Option<impl Future<Output = Result<Option<u64>, CacheError>> + use<'a>> {
        let (far, breaker) = (Arc::clone(self.far.as_ref()?), Arc::clone(&self.far_breaker));
        let budget = match what {
            Selector::Keys(_) => self.terms.far_timeout,
            _ => SWEEP_BUDGET,
        };
        let removal = async move { breaker.guard_apart(budget, far.remove(what)).await };
        Some(self.terms.spanned(Asked::selected("replay", what), removal))
    }

    /// Nothing is left of it if the far tier has it now, or never will; else it stays owed.
    fn replayed(&self, batch: Batch, answer: Result<Option<u64>, CacheError>) -> Result<(), Batch> {
        match answer {
            Ok(_) => {
                // The bus may be lost for longer: that keeps nobody from the far tier.
                self.owe_bus(&batch.what);
                self.missed.done(&batch);
                self.turns.of(batch.kind()).went_well.send_replace(true);
                Ok(())
            }
            Err(_) if batch.is_many() => Err(batch),
            Err(error) if is_refused(&error) => {
                tracing::error!(%error, "the far tier refuses an invalidation for good");
                self.missed.give_up(&batch);
                Ok(())
            }
            Err(_) => {
                self.missed.postpone(&batch);
                Err(batch)
            }
        }
    }

    /// Tells what could not be told, until something cannot be told again.
    pub(crate) async fn told(&self) -> Result<(), CacheError> {
        if self.untold.len() == 0 {
            return Ok(());
        }
        if self.bus_breaker.refuses() {
            return Err(CacheError::new(ErrorKind::Unavailable, "the bus does not answer"));
        }
        let mut batches = self.untold.batches().into_iter();
        // The first by itself: it may be the one that finds out whether the bus is back.
        if let Some(first) = batches.next() {
            self.tell_owed(first).await?;
        }
        let rest = stream::iter(batches).map(|batch| self.tell_owed(batch));
        rest.buffer_unordered(AT_ONCE).try_for_each(|()| ready(Ok(()))).await
    }

    async fn tell_owed(&self, batch: Batch) -> Result<(), CacheError> {
        self.tell(&batch.what).await?;
        self.untold.done(&batch);
        Ok(())
    }

    /// Gives leases back that nobody uses any more, so that other nodes need not wait until they
    /// have run out; until one cannot be given back.
    pub(crate) async fn give_back(&self) {
        let Some(far) = self.far.as_deref() else { return };
        let next = || self.unused.next(self.clock.now());
        // The first by itself, as above.
        let mut at_once = 1;
        loop {
            let leases: Vec<_> = std::iter::from_fn(next).take(at_once).collect();
            if leases.is_empty() {
                return;
            }
            let given = leases.into_iter().map(|lease| self.give_back_one(far, lease));
            if !join_all(given).await.into_iter().all(|given| given) {
                return;
            }
            at_once = AT_ONCE;
        }
    }

    async fn give_back_one(&self, far: &dyn CacheStore, lease: Lease) -> bool {
        let mut unused = GivenBack { inner: self, lease: Some(lease.clone()) };
        let key = lease.key().to_owned();
        let abandon = || far.abandon(lease);
        let given = self.far_breaker.guard(self.terms.far_timeout, abandon).await.is_ok();
        if given {
            unused.lease = None;
            self.waiters.wake_key(&key);
        }
        given
    }
}

/// A lease that is being given back. Dropped before that is done, it is tried again.
struct GivenBack<'a> {
    inner: &'a Inner,
    lease: Option<Lease>,
}

impl Drop for GivenBack<'_> {
    fn drop(&mut self) {
        if let Some(lease) = self.lease.take() {
            self.inner.unused.add(lease);
            self.inner.owed.notify_one();
        }
    }
}

/// One turn.
async fn replay(weak: Weak<Inner>, kind: Kind, turn: Taken) {
    let Some(went_well) = replay_all(&weak, kind).await else { return };
    let Some(inner) = weak.upgrade() else { return };
    inner.turns.of(kind).ended(went_well, &inner.clock, &inner.far_breaker);
    drop(turn);
    inner.turns.of(kind).went_well.send_replace(went_well);
    // What could not be told is owed, and tried again.
    let _ = inner.told().await;
}

/// Replays all that is owed of a kind; true if the far tier has that then, `None` if the store is gone.
async fn replay_all(weak: &Weak<Inner>, kind: Kind) -> Option<bool> {
    loop {
        let batches = weak.upgrade()?.missed.batches_of(kind);
        if batches.is_empty() {
            tracing::debug!("the far tier has what it had missed of invalidations");
            return Some(true);
        }
        if !replay_each(weak, kind, batches).await? {
            return Some(false);
        }
    }
}

/// Replays these, rule 4; true if that went well.
async fn replay_each(weak: &Weak<Inner>, kind: Kind, batches: Vec<Batch>) -> Option<bool> {
    let (clock, patience, mut is_open) = {
        let inner = weak.upgrade()?;
        (inner.clock.clone(), inner.terms.far_timeout, inner.far_breaker.is_open())
    };
    let mut waiting = VecDeque::from(batches);
    // While the breaker is open first of all one key: whether the far tier answers again.
    if is_open && let Some(first) = waiting.pop_front() {
        first.first_apart().into_iter().rev().for_each(|part| waiting.push_front(part));
    }
    let (mut under_way, mut many_under_way) = (FuturesUnordered::new(), false);
    let (mut begun, mut failures, mut ends, mut went_well) = (0_u64, 0, false, true);
    // When the last success was, and how many had begun by then.
    let (mut succeeded_at, mut begun_by_then) = (clock.now(), 0);
    loop {
        let at_once = match kind {
            Kind::Keys if !is_open => KEYS_AT_ONCE,
            Kind::Keys | Kind::Sweeps => 1,
        };
        while !ends
            && under_way.len() < at_once
            && let Some(next) = waiting.front()
            && !(next.is_many() && many_under_way)
            && let Some(batch) = waiting.pop_front()
        {
            many_under_way |= batch.is_many();
            let (number, is_many) = (begun, batch.is_many());
            begun += 1;
            under_way.push(async move { (number, is_many, replay_one(weak, batch).await) });
        }
        let Some((number, is_many, tried)) = under_way.next().await else {
            return Some(went_well && !ends);
        };
        many_under_way &= !is_many;
        match tried? {
            Ok(()) => (failures, succeeded_at, begun_by_then) = (0, clock.now(), begun),
            Err(batch) if is_many => {
                batch.ones().into_iter().rev().for_each(|one| waiting.push_front(one));
            }
            Err(_) => {
                went_well = false;
                failures += usize::from(number >= begun_by_then);
            }
        }
        is_open = weak.upgrade()?.far_breaker.is_open();
        let is_slow = succeeded_at.until(clock.now()) >= patience;
        let most = if is_slow { FAILURES.0 } else { FAILURES.1 };
        // Those that are under way go to their end: so they are postponed if they fail.
        ends |= is_open || failures >= most;
    }
}

/// Tries one, without holding on to the store meanwhile; it is given back if it failed.
async fn replay_one(weak: &Weak<Inner>, batch: Batch) -> Option<Result<(), Batch>> {
    let replay = weak.upgrade()?.replay_of(&batch.what)?;
    let answer = replay.await;
    Some(weak.upgrade()?.replayed(batch, answer))
}

/// The far tier has not been asked.
pub(crate) fn behind() -> CacheError {
    let message = "an invalidation that the far tier has missed is being replayed";
    CacheError::new(ErrorKind::Unavailable, message)
}

/// Whether the other side has answered and will answer the same whenever it is asked.
fn is_refused(error: &CacheError) -> bool {
    !error.is_retryable() && !matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout)
}
