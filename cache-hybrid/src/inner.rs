//! What the clones of a store share, and how each tier is asked.

use std::future::Future;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use cache_core::{
    CacheError, CacheStore, Clock, Entry, ErrorKind, InvalidationBus, Lease, LeaseOutcome,
    RemovalListener, Selector, Timestamp, TracedKeys,
};
use parking_lot::{Mutex, RwLock};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::breaker::Breaker;
use crate::catch_up::{Effort, Turns, behind};
use crate::leases::Unused;
use crate::replay::{Beyond, Owed, Replay};
use crate::spans::Asked;
use crate::stats::{Counters, bump};
use crate::teller::Teller;
use crate::trust::Trust;
use crate::waiters::Waiters;

/// How long a caller's removal by prefix may take in all.
const SWEEP_BUDGET: Duration = Duration::from_secs(60);
/// How long a lease on the near tier lasts that a read of the far one takes: longer than any read.
const READ_LEASE: Duration = Duration::from_secs(60);

/// What a store is made of.
pub(crate) struct Parts {
    pub(crate) near: Option<Arc<dyn CacheStore>>,
    pub(crate) far: Option<Arc<dyn CacheStore>>,
    pub(crate) bus: Option<Arc<dyn InvalidationBus>>,
    pub(crate) replays: usize,
}

/// What is set and does not change.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    /// Of entries that name no TTL.
    pub(crate) default_ttl: Duration,
    pub(crate) local_ttl: Duration,
    pub(crate) grace: Duration,
    pub(crate) far_timeout: Duration,
    /// How keys stand in spans.
    #[cfg_attr(not(feature = "tracing"), allow(dead_code, reason = "there are no spans"))]
    pub(crate) traced_keys: TracedKeys,
}

pub(crate) struct Inner {
    pub(crate) near: Option<Arc<dyn CacheStore>>,
    pub(crate) far: Option<Arc<dyn CacheStore>>,
    pub(crate) bus: Option<Arc<dyn InvalidationBus>>,
    pub(crate) terms: Terms,
    pub(crate) clock: Clock,
    pub(crate) trust: Trust,
    pub(crate) far_breaker: Arc<Breaker>,
    pub(crate) bus_breaker: Breaker,
    /// What the far tier has missed.
    pub(crate) missed: Replay,
    /// What the other nodes were not told of.
    pub(crate) untold: Replay,
    /// Leases of the far tier that nobody uses any more.
    pub(crate) unused: Unused,
    /// Who replays that.
    pub(crate) turns: Turns,
    /// For them.
    pub(crate) own: Weak<Self>,
    pub(crate) teller: Teller,
    pub(crate) waiters: Waiters,
    pub(crate) listeners: RwLock<Vec<RemovalListener>>,
    pub(crate) counters: Counters,
    /// Something is owed that is to be replayed.
    pub(crate) owed: Arc<Notify>,
    /// On which those run that attend to it, replays included: one that a caller is on may stand still,
    /// or be driven no more. Without a far tier or a bus there are none.
    pub(crate) runtime: OnceLock<Handle>,
    /// Those of `attend.rs` and `catch_up.rs`, which end with this.
    pub(crate) tasks: Mutex<Vec<AbortHandle>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.tasks.get_mut().iter().for_each(AbortHandle::abort);
    }
}

impl Inner {
    pub(crate) fn new(parts: Parts, terms: Terms, clock: Clock) -> Arc<Self> {
        let Parts { near, far, bus, replays } = parts;
        // It is for what is held near: without that, nothing is from before.
        let grace = near.as_ref().map_or(Duration::ZERO, |_| terms.grace);
        Arc::new_cyclic(|own| Self {
            trust: Trust::new(clock.clone(), bus.is_some(), grace),
            far_breaker: Arc::new(Breaker::new("the far tier", clock.clone(), terms.far_timeout)),
            bus_breaker: Breaker::new("the bus", clock.clone(), terms.far_timeout),
            missed: Replay::new(replays, Beyond::DropsOldest),
            // Who is told removes from memory alone, and has served what it holds all the time.
            untold: Replay::new(replays, Beyond::KeepsAll),
            unused: Unused::default(),
            turns: Turns::default(),
            own: own.clone(),
            teller: Teller::new(clock.clone()),
            waiters: Waiters::default(),
            listeners: RwLock::default(),
            counters: Counters::default(),
            owed: Arc::default(),
            runtime: OnceLock::new(),
            tasks: Mutex::default(),
            near,
            far,
            bus,
            terms,
            clock,
        })
    }

    /// Where a task goes that outlives its caller.
    pub(crate) fn runtime(&self) -> Option<Handle> {
        self.runtime.get().cloned().or_else(|| Handle::try_current().ok())
    }

    // The near tier.

    /// The near tier, if it may be served just now.
    #[inline(always)]
    pub(crate) fn serving(&self) -> Option<&dyn CacheStore> {
        let near = self.near.as_deref()?;
        self.trust.serves().then_some(near)
    }

    /// The right to keep in the near tier what is read from now on, if it is served at all.
    pub(crate) async fn near_lease(&self, key: &str, ttl: Duration) -> Option<Lease> {
        match self.serving()?.lease_to_replace(key, ttl).await {
            Ok(LeaseOutcome::Granted(lease)) => Some(lease),
            _ => None,
        }
    }

    pub(crate) async fn read_lease(&self, key: &str) -> Option<Lease> {
        self.near_lease(key, READ_LEASE).await
    }

    /// The entry as it comes from here: its lifetimes are the same in both tiers.
    pub(crate) fn dated(&self, entry: Entry) -> Entry {
        entry.date(self.clock.now(), self.terms.default_ttl)
    }

    /// The form in which the near tier keeps an entry.
    pub(crate) fn near_form(&self, entry: Entry) -> Entry {
        entry.held_at_most(self.clock.now(), self.terms.local_ttl)
    }

    /// Keeps what the far tier has, unless the key has changed since the lease was taken.
    pub(crate) async fn keep(&self, lease: Option<Lease>, entry: Entry) -> bool {
        let (Some(lease), Some(near)) = (lease, self.serving()) else { return false };
        let kept = matches!(near.fill(lease, self.near_form(entry)).await, Ok(true));
        if !kept {
            bump(&self.counters.near_refused);
        }
        kept
    }

    /// Keeps what was loaded and is in the far tier now, as a write does: no read that began before
    /// is kept in its place, and nothing older stays where this cannot be kept.
    pub(crate) async fn keep_loaded(&self, key: &str, lease: Option<Lease>, entry: Entry) {
        let (Some(lease), Some(near)) = (lease, self.serving()) else {
            return drop(self.near_remove(&Selector::key(key)).await);
        };
        if !matches!(near.fill_or_remove(lease, self.near_form(entry)).await, Ok(true)) {
            bump(&self.counters.near_refused);
        }
    }

    /// Revokes and removes in the near tier, served or not.
    pub(crate) async fn near_remove(&self, what: &Selector) -> Result<Option<u64>, CacheError> {
        match &self.near {
            Some(near) => near.remove(what).await,
            None => Ok(None),
        }
    }

    /// Tells the engine, so that nobody joins a load that began before, and whoever waits for
    /// another's load: the lease it waits for is gone.
    pub(crate) fn detach(&self, what: &Selector) {
        self.listeners.read().iter().for_each(|listener| listener(what));
        self.waiters.wake(what);
    }

    // The far tier and the bus.

    /// Reads from the far tier as [`ask_far`](Self::ask_far) asks it. How long that takes is
    /// measured where the far tier itself is asked and nothing else: neither while it is left alone
    /// nor while it has something to catch up with.
    pub(crate) async fn read_far<'a, T, F>(
        &'a self,
        asked: Asked<'a>,
        far: &'a dyn CacheStore,
        keys: impl IntoIterator<Item = &'a str> + Clone,
        call: impl FnOnce(&'a dyn CacheStore) -> F,
    ) -> Result<T, CacheError>
    where
        F: Future<Output = Result<T, CacheError>>,
    {
        bump(&self.counters.far_reads);
        #[cfg(feature = "metrics")]
        let begun =
            (self.missed.len() == 0 && !self.far_breaker.is_open()).then(|| self.clock.now());
        let found = self.ask_far(asked, far, keys, call).await;
        #[cfg(feature = "metrics")]
        if let Some(begun) = begun {
            self.counters.far_times.record(begun.until(self.clock.now()));
        }
        found
    }

    /// Asks the far tier for `keys`, after what it has missed of them: both within one budget, of which a
    /// quarter is for the call, as one with less would only seem to have gone unanswered; and not at
    /// all while it does not answer. `call` is called when it is asked, so that it can tell.
    pub(crate) fn ask_far<'a, T, F>(
        &'a self,
        asked: Asked<'a>,
        far: &'a dyn CacheStore,
        keys: impl IntoIterator<Item = &'a str> + Clone,
        call: impl FnOnce(&'a dyn CacheStore) -> F,
    ) -> impl Future<Output = Result<T, CacheError>>
    where
        F: Future<Output = Result<T, CacheError>>,
    {
        self.terms.spanned(asked, self.ask_far_in_time(far, keys, self.terms.far_timeout / 4, call))
    }

    /// As [`ask_far`](Self::ask_far), for what must not be done any more once it has ended: it is
    /// asked with all the time that the far tier may take for it, or not at all.
    pub(crate) fn write_to_far<'a, T, F>(
        &'a self,
        asked: Asked<'a>,
        far: &'a dyn CacheStore,
        keys: impl IntoIterator<Item = &'a str> + Clone,
        call: impl FnOnce(&'a dyn CacheStore) -> F,
    ) -> impl Future<Output = Result<T, CacheError>>
    where
        F: Future<Output = Result<T, CacheError>>,
    {
        let least = far.call_timeout().unwrap_or_default();
        self.terms.spanned(asked, self.ask_far_in_time(far, keys, least, call))
    }

    /// With at least so much time.
    async fn ask_far_in_time<'a, T, F>(
        &'a self,
        far: &'a dyn CacheStore,
        keys: impl IntoIterator<Item = &'a str> + Clone,
        least: Duration,
        call: impl FnOnce(&'a dyn CacheStore) -> F,
    ) -> Result<T, CacheError>
    where
        F: Future<Output = Result<T, CacheError>>,
    {
        let mut budget = self.terms.far_timeout;
        if self.missed.owed(keys.clone()) != Owed::Nothing {
            let begun = self.clock.now();
            let owed = || self.missed.owed(keys.clone());
            let budget_left = budget.saturating_sub(least);
            self.caught_up(owed, budget_left, Effort::Normal).await?;
            budget = budget.saturating_sub(begun.until(self.clock.now()));
            if budget < least {
                return Err(behind());
            }
        }
        self.far_breaker.guard(budget, || call(far)).await
    }

    /// Removes in the far tier and tells the bus. What does not reach them is owed.
    pub(crate) async fn remove_far(&self, what: &Selector) -> Result<Option<u64>, CacheError> {
        let (budget, breaker) = (self.removal_budget(what), &*self.far_breaker);
        let asked = Asked::selected("remove", what);
        let Some(far) = &self.far else {
            return self.tell_or_owe(what, Timestamp::MAX).await.map(|()| None);
        };
        if let Some(bus) = self.tells_with_far()
            && matches!(what, Selector::Keys(_))
        {
            let remove = || {
                bump(&self.counters.told);
                far.remove_and_tell(what, bus)
            };
            let removed = self.terms.spanned(asked, breaker.guard(budget, remove)).await;
            return removed.inspect_err(|error| self.owe_unless_refused(error, what));
        }
        let removed = self.terms.spanned(asked, breaker.guard(budget, || far.remove(what))).await;
        let removed = removed.inspect_err(|error| self.owe_unless_refused(error, what))?;
        self.tell_or_owe(what, Timestamp::MAX).await.map(|()| removed)
    }

    /// The bus, if the far tier tells over it as it makes a change, in one call.
    pub(crate) fn tells_with_far(&self) -> Option<&dyn InvalidationBus> {
        let (far, bus) = (self.far.as_deref()?, self.bus.as_deref()?);
        far.tells_with(bus).then_some(bus)
    }

    /// A far tier looks through all it has for a prefix, in as many calls as that takes, each
    /// within a budget of its own.
    fn removal_budget(&self, what: &Selector) -> Duration {
        match what {
            Selector::Keys(_) => self.terms.far_timeout,
            _ => self.terms.far_timeout.max(SWEEP_BUDGET),
        }
    }

    /// Tells the bus, if there is one.
    pub(crate) async fn tell(&self, what: &Selector) -> Result<(), CacheError> {
        self.tell_within(what, self.terms.far_timeout).await
    }

    async fn tell_within(&self, what: &Selector, budget: Duration) -> Result<(), CacheError> {
        let Some(bus) = &self.bus else { return Ok(()) };
        let publish = || {
            bump(&self.counters.told);
            bus.publish(what)
        };
        self.bus_breaker.guard(budget, publish).await
    }

    pub(crate) async fn tell_or_owe(
        &self,
        what: &Selector,
        until: Timestamp,
    ) -> Result<(), CacheError> {
        let budget = self.clock.now().until(until).min(self.terms.far_timeout);
        self.tell_within(what, budget).await.inspect_err(|_| self.owe_bus(what))
    }

    /// After a change of the far tier that failed: it may have been made or not, but for what is
    /// refused before it is tried.
    pub(crate) fn owe_unless_refused(&self, error: &CacheError, what: &Selector) {
        use ErrorKind::{Config, InvalidKey, Serialization, TooLarge};
        if !matches!(error.kind(), Config | InvalidKey | Serialization | TooLarge) {
            self.owe_far(what);
        }
    }

    /// An invalidation did not reach the far tier, and so nobody.
    pub(crate) fn owe_far(&self, what: &Selector) {
        self.missed.add(what);
        self.owed.notify_one();
    }

    /// Nobody knows whom an invalidation has reached.
    pub(crate) fn owe(&self, what: &Selector) {
        match self.far {
            Some(_) => self.owe_far(what),
            None => self.owe_bus(what),
        }
    }

    /// The other nodes do not know.
    pub(crate) fn owe_bus(&self, what: &Selector) {
        if self.bus.is_some() {
            self.untold.add(what);
            self.owed.notify_one();
        }
    }
}
