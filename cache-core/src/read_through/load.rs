//! Loading one key: what its callers get, and what the task that loads does.
//!
//! The caller's side is [`ReadThrough::load_one`], the loading task's is [`Inner::fly`]. States
//! and events are those of the table in `docs/read-through.md`.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::runtime::Handle;

use super::chain::{self, Chain};
use super::counters::{Source, bump};
use super::flight::{Flight, Landing, Outcome, Task, Watch};
use super::flights::{Boarding, Flight as _};
use super::look_up::{Lookup, Wanted};
use super::spans::{Ended, Loaded};
use super::{Inner, ReadThrough};
use crate::{
    CacheError, CacheStore, Entry, ErrorKind, Lease, Loader, Policy, Timestamp, check_key,
};

/// How long a task that loads is waited for when its time is over. If the whole process stood still
/// meanwhile, it has its turn before anyone gives it up.
const GRACE: Duration = Duration::from_secs(1);

/// How often the store is called at most between the end of a stage's time and that of the stage.
pub(super) const CALLS: u32 = 4;

/// What the process holds of a key, to a caller with a policy.
pub(super) enum Held {
    /// Fresh, or not to be refreshed yet: the answer.
    Serve(Entry),
    /// Fresh but due for a refresh: the answer, and a refresh in the background.
    Due(Entry),
    /// Stale within the window: the answer if the load is slow or fails.
    Stale(Entry),
    /// Nothing this caller can use.
    Nothing,
}

/// What a waiter got.
pub(super) struct Waited {
    pub(super) entry: Entry,
    pub(super) from: From,
}

/// Where it got it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    Load,
    Store(Source),
}

impl<S: CacheStore> ReadThrough<S> {
    #[allow(clippy::manual_async_fn, reason = "an `async fn` keeps its arguments twice")]
    pub(super) fn load_one<'a>(
        &'a self,
        key: &'a str,
        policy: &'a Policy,
        loader: Loader,
    ) -> impl Future<Output = Result<Entry, CacheError>> + Send + 'a {
        let takes = loader.acceptance();
        let mut loader = Some(loader);
        async move {
            check_key(key)?;
            let soft_until = self.0.soft_deadline(policy);
            loop {
                let held = match self.0.held(key, policy, takes) {
                    Held::Serve(entry) => return Ok(self.0.served(entry, Source::Local)),
                    Held::Due(entry) => {
                        if let Some(loader) = loader.take() {
                            // The caller has its answer; a refresh that cannot start is no failure.
                            let _ = self.start_or_join(key, policy, &mut Some(loader));
                        }
                        return Ok(self.0.served(entry, Source::Local));
                    }
                    Held::Stale(entry) => Some(entry),
                    Held::Nothing => None,
                };
                let (flight, joined) = self.start_or_join(key, policy, &mut loader)?;
                let waited = self.0.wait(key, &flight, held, policy, soft_until).await;
                match waited {
                    // Joined the load of a caller to whom "absent" is an answer: load again.
                    Ok(waited) if !takes.accepts(&waited.entry) && loader.is_some() => {}
                    waited => return self.0.counted(waited, joined),
                }
            }
        }
    }

    /// Joins the load of `key`, or starts one with the loader, which is taken then.
    fn start_or_join(
        &self,
        key: &str,
        policy: &Policy,
        loader: &mut Option<Loader>,
    ) -> Result<(Flight, bool), CacheError> {
        let runtime = runtime()?;
        let lead = || Flight::new(self.0.task(policy));
        match self.0.flights.board(key, lead) {
            Boarding::Joined(flight) => chain::check(key, &flight).map(|()| (flight, true)),
            Boarding::Led(key, flight) => {
                let landing = Landing::new(&self.0.flights, key, flight.clone());
                if let Some(loader) = loader.take() {
                    let chain = Chain::extend([&flight]);
                    let inner = Arc::clone(&self.0);
                    let span = self.0.load_span(Loaded::Key(landing.key()));
                    let task = inner.fly(landing, policy.clone(), loader, chain);
                    // Owned by the flight: it ends by itself, within the load's budget.
                    drop(runtime.spawn(span.around(task)));
                }
                Ok((flight, false))
            }
        }
    }
}

/// The runtime that loads run on.
pub(super) fn runtime() -> Result<Handle, CacheError> {
    Handle::try_current().map_err(|error| {
        let message = "a load needs a tokio runtime: call from within one";
        CacheError::new(ErrorKind::Config, message).with_source(error)
    })
}

/// Which entries satisfy a caller.
#[derive(Clone, Copy)]
pub(super) enum Acceptance {
    Values,
    ValuesAndAbsent,
}

impl Acceptance {
    pub(super) fn accepts(self, entry: &Entry) -> bool {
        matches!(self, Self::ValuesAndAbsent) || !entry.is_absent()
    }
}

impl Loader {
    fn acceptance(&self) -> Acceptance {
        if self.takes_absent() { Acceptance::ValuesAndAbsent } else { Acceptance::Values }
    }
}

// The caller's side.
impl<S: CacheStore> Inner<S> {
    /// What this process holds of `key`, to a caller with `policy`.
    pub(super) fn held(&self, key: &str, policy: &Policy, takes: Acceptance) -> Held {
        let now = self.clock.now();
        let usable = |entry: &Entry| takes.accepts(entry) && policy.serves(entry, now);
        let Some(entry) = self.store.peek(key).filter(usable) else {
            return Held::Nothing;
        };
        let fresh = entry.is_fresh(now);
        if fresh && !policy.wants_refresh(&entry, now, self.default_ttl) {
            return Held::Serve(entry);
        }
        match (self.throttle.holds(key, now), fresh) {
            (true, _) => Held::Serve(entry),
            (false, true) => Held::Due(entry),
            (false, false) => Held::Stale(entry),
        }
    }

    /// When a caller that can have a stale value takes it: at once if no soft timeout is set.
    pub(super) fn soft_deadline(&self, policy: &Policy) -> Timestamp {
        policy.patience().map_or(Timestamp::ZERO, |soft| self.clock.now() + soft)
    }

    /// Waits for `flight`, the load of `key`; a stale entry (`held`, or found by the flight) answers
    /// after the soft timeout, or if the load fails.
    ///
    /// Waiters bound themselves: the task that loads keeps to its time only if it is run, and its
    /// runtime may stand still while theirs does not.
    pub(super) async fn wait(
        &self,
        key: &str,
        flight: &Flight,
        held: Option<Entry>,
        policy: &Policy,
        soft_until: Timestamp,
    ) -> Result<Waited, CacheError> {
        let mut watch = flight.watch();
        let mut overdue = false;
        loop {
            let (interim, outcome) = watch.look();
            let fallback = self.fallback(interim, held.as_ref(), policy);
            let error = match outcome {
                Some(Outcome::Found(entry)) => {
                    return Ok(Waited { entry, from: From::Store(Source::Remote) });
                }
                Some(Outcome::Loaded(entry)) => return Ok(Waited { entry, from: From::Load }),
                Some(Outcome::Failed(error)) => error,
                None if overdue => {
                    // The next caller loads.
                    self.flights.land(key, flight.id());
                    overdue_load(key)
                }
                None => {
                    let until = match fallback {
                        Some(fallback)
                            if !self.clock.is_before(soft_until)
                                || self.clock.is_before(fallback.entry.fresh_until()) =>
                        {
                            return Ok(fallback);
                        }
                        Some(_) => soft_until,
                        None => Timestamp::MAX,
                    };
                    // Apart, so that who need not wait has no room for the timers.
                    overdue = self.progress(&mut watch, flight.task(), until).boxed().await;
                    continue;
                }
            };
            return fallback.ok_or(error);
        }
    }

    /// What may be served while the load goes on, or if it fails.
    fn fallback(
        &self,
        interim: Option<Entry>,
        held: Option<&Entry>,
        policy: &Policy,
    ) -> Option<Waited> {
        if interim.is_none() && held.is_none() {
            return None;
        }
        let now = self.clock.now();
        let candidates = (interim.map(|entry| (entry, Source::Remote)).into_iter())
            .chain(held.cloned().map(|entry| (entry, Source::Local)));
        let mut served = candidates.filter(|(entry, _)| policy.serves(entry, now));
        served.next().map(|(entry, source)| Waited { entry, from: From::Store(source) })
    }

    /// Waits until there is something new to look at, or until `until`. Or else until the task that
    /// loads is overdue: then it is true.
    async fn progress(&self, watch: &mut Watch, task: &Task, until: Timestamp) -> bool {
        let time = async {
            tokio::select! {
                biased;
                () = self.clock.sleep_until(until) => false,
                () = self.overdue(task) => true,
            }
        };
        tokio::select! {
            biased;
            () = watch.changed() => false,
            // A runtime without timers makes them panic.
            overdue = AssertUnwindSafe(time).catch_unwind() => match overdue {
                Ok(overdue) => overdue,
                Err(_) => watch.changed().map(|()| false).await,
            },
        }
    }

    /// Waits until `task` should long have come further.
    async fn overdue(&self, task: &Task) {
        loop {
            let ends = task.ends();
            self.clock.guard_until(ends).await;
            self.clock.guard_until(self.clock.now() + GRACE).await;
            if task.ends() == ends {
                return;
            }
        }
    }

    /// Counts a waiter's result as the hit or miss it is.
    pub(super) fn counted(
        &self,
        waited: Result<Waited, CacheError>,
        joined: bool,
    ) -> Result<Entry, CacheError> {
        match waited {
            Ok(Waited { entry, from: From::Store(source) }) => Ok(self.served(entry, source)),
            Ok(Waited { entry, from: From::Load }) => {
                self.counters.miss(joined);
                Ok(entry)
            }
            Err(error) => {
                self.counters.miss(joined);
                Err(error)
            }
        }
    }

    /// Counts a hit.
    pub(super) fn served(&self, entry: Entry, source: Source) -> Entry {
        self.counters.hit(&entry, source);
        if !self.clock.is_before(entry.fresh_until()) {
            bump(&self.counters.stale_served);
        }
        entry
    }
}

/// For whoever waits for a load that does not come to its end.
#[cold]
fn overdue_load(key: &str) -> CacheError {
    let message = "the load has not ended in its time: the task that loads is not being run, or the \
                   backend does not answer";
    CacheError::new(ErrorKind::Timeout, message).with_key(key)
}

// The loading task's side.
impl<S: CacheStore> Inner<S> {
    /// The task of a load that begins now.
    pub(super) fn task(&self, policy: &Policy) -> Arc<Task> {
        Task::new(self.clock.now() + policy.load_budget() + self.time_for(CALLS))
    }

    /// How long so many calls of the store take, one after the other, if it keeps to its time.
    pub(super) fn time_for(&self, calls: u32) -> Duration {
        self.store.call_timeout().map_or(Duration::ZERO, |each| each.saturating_mul(calls))
    }

    /// Loads one key and ends its flight.
    #[allow(clippy::manual_async_fn, reason = "an `async fn` keeps its arguments twice")]
    fn fly(
        self: Arc<Self>,
        landing: Landing,
        policy: Policy,
        loader: Loader,
        chain: Arc<Chain>,
    ) -> impl Future<Output = Ended> + Send {
        async move {
            let deadline = self.clock.now() + policy.load_budget();
            let takes = loader.acceptance();
            let (flight, key) = (landing.flight(), landing.key());
            flight.task().renew(deadline + self.time_for(CALLS));
            let wanted = Wanted { flight, key, policy: &policy, takes, deadline };
            let outcome = match self.look_up(wanted).await {
                Lookup::Fresh(entry) => Outcome::Found(entry),
                Lookup::Refused(error) => Outcome::Failed(error),
                Lookup::Missing(lease) => {
                    let until = self.clock.now() + policy.load_budget();
                    flight.task().renew(until + self.time_for(CALLS));
                    let loaded = self.call(chain.scope(loader.run()), until).await;
                    self.conclude(&landing, &policy, lease, loaded).await
                }
            };
            let ended = Ended::of(&outcome);
            landing.land(outcome);
            ended
        }
    }

    /// Runs a loader until `deadline`, a panic being an error.
    pub(super) async fn call<T>(
        &self,
        loader: impl Future<Output = Result<T, CacheError>>,
        deadline: Timestamp,
    ) -> Result<T, CacheError> {
        bump(&self.counters.loads);
        #[cfg(feature = "metrics")]
        let begun = self.clock.now();
        let loaded = tokio::select! {
            biased;
            loaded = AssertUnwindSafe(loader).catch_unwind() => loaded,
            () = self.clock.sleep_until(deadline) => {
                let message = "the load took longer than its load_timeout and was given up";
                Ok(Err(CacheError::new(ErrorKind::Timeout, message)))
            }
        };
        let loaded = loaded.unwrap_or_else(|payload| Err(CacheError::panicked(&*payload)));
        #[cfg(feature = "metrics")]
        self.times.loads.record(begun.until(self.clock.now()));
        bump(if loaded.is_ok() { &self.counters.loaded } else { &self.counters.load_failures });
        loaded
    }

    /// Stores what was loaded, or gives the lease back.
    pub(super) async fn conclude(
        &self,
        landing: &Landing,
        policy: &Policy,
        lease: Option<Lease>,
        loaded: Result<Entry, CacheError>,
    ) -> Outcome {
        let key = landing.key();
        match loaded {
            Ok(entry) => {
                let entry = self.date(entry);
                self.fill(key, lease, entry.clone()).await;
                self.throttle.release(key);
                Outcome::Loaded(entry)
            }
            Err(error) => {
                if landing.flight().interim().is_some() || self.store.peek(key).is_some() {
                    let backoff = policy.refresh_backoff(self.default_ttl);
                    self.throttle.hold(key, self.clock.now(), backoff);
                }
                if let Some(lease) = lease
                    && let Err(error) = self.store.abandon(lease).await
                {
                    self.note(&self.failed(error, key), "abandon");
                }
                Outcome::Failed(error.with_key(key))
            }
        }
    }

    /// Stores under the lease. The loaded value is the callers' whatever becomes of it here.
    async fn fill(&self, key: &str, lease: Option<Lease>, entry: Entry) {
        let Some(lease) = lease else { return };
        match self.store.fill(lease, entry).await {
            Ok(true) => {}
            Ok(false) => bump(&self.counters.fills_refused),
            Err(error) => self.note(&self.failed(error, key), "fill"),
        }
    }

    pub(super) fn note(&self, error: &CacheError, operation: &str) {
        tracing::debug!(%error, operation, "the cache's backend failed during a load");
    }
}
