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

use super::chain;
use super::counters::{Source, bump};
use super::flight::{Flight, Landing, Outcome, Task};
use super::flights::Boarding;
use super::look_up::{Lookup, Wanted};
use super::spans::{Ended, Loaded};
use super::waiting::{From, Unserved, Waited};
use super::{Inner, ReadThrough};
use crate::{
    CacheError, CacheStore, Entry, ErrorKind, Lease, Loader, Policy, Timestamp, check_key,
};

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
                let (flight, joined) = match self.start_or_join(key, policy, &mut loader) {
                    Ok(boarded) => boarded,
                    Err(error) => {
                        // What cannot be refreshed can be served.
                        let served = held.map(|entry| self.0.served(entry, Source::Local));
                        return served.ok_or(error);
                    }
                };
                match self.0.wait(key, &flight, held, policy, soft_until).await {
                    // Joined the load of a caller to whom "absent" is an answer: load again.
                    Ok(waited) if !takes.accepts(&waited.entry) && loader.is_some() => {}
                    // Joined one that was not tried, for a reason that is not this caller's.
                    Err(Unserved::NotTried(_)) if loader.is_some() => {}
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
            Boarding::Joined(flight) => Ok((flight, true)),
            Boarding::Led(key, flight) => {
                let landing = Landing::new(&self.0.flights, key, flight.clone());
                if let Some(loader) = loader.take() {
                    let inner = Arc::clone(&self.0);
                    let span = self.0.load_span(Loaded::Key(landing.key()));
                    let task = inner.fly(landing, policy.clone(), loader);
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

    /// Counts a waiter's result as the hit or miss it is.
    pub(super) fn counted(
        &self,
        waited: Result<Waited, Unserved>,
        joined: bool,
    ) -> Result<Entry, CacheError> {
        match waited {
            Ok(Waited { entry, from: From::Store(source) }) => Ok(self.served(entry, source)),
            Ok(Waited { entry, from: From::Load }) => {
                self.counters.miss(joined);
                Ok(entry)
            }
            Err(Unserved::Failed(error) | Unserved::NotTried(error)) => {
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

#[cold]
fn given_up() -> CacheError {
    let message = "the load took longer than its load_timeout and was given up";
    CacheError::new(ErrorKind::Timeout, message)
}

/// A runtime without timers makes them panic.
#[cold]
fn no_timers() -> CacheError {
    let message = "a load needs a tokio runtime with timers: build it with `enable_time`";
    CacheError::new(ErrorKind::Config, message)
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
    ) -> impl Future<Output = Ended> + Send {
        async move {
            let flight = AssertUnwindSafe(self.outcome(&landing, &policy, loader)).catch_unwind();
            let outcome = flight.await.unwrap_or_else(|payload| {
                let error = CacheError::backend_panicked(&*payload).with_key(landing.key());
                Outcome::Failed(error)
            });
            let ended = Ended::of(&outcome);
            landing.land(outcome);
            ended
        }
    }

    async fn outcome(&self, landing: &Landing, policy: &Policy, loader: Loader) -> Outcome {
        let deadline = self.clock.now() + policy.load_budget();
        let takes = loader.acceptance();
        let (flight, key) = (landing.flight(), landing.key());
        flight.task().renew(deadline + self.time_for(CALLS));
        let lease = match self.look_up(Wanted { flight, key, policy, takes, deadline }).await {
            Lookup::Fresh(entry) => return Outcome::Found(entry),
            Lookup::Refused(error) => return Outcome::Failed(error),
            Lookup::NotTried(error) => return Outcome::NotTried(error),
            Lookup::Missing(lease) => lease,
        };
        let until = self.clock.now() + policy.load_budget();
        flight.task().renew(until + self.time_for(CALLS));
        let loaded = self.call(chain::scope(flight.task(), loader.run()), until).await;
        self.conclude(landing, policy, lease, loaded).await
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
            passed = AssertUnwindSafe(self.clock.sleep_until(deadline)).catch_unwind() => {
                Ok(Err(passed.map_or_else(|_| no_timers(), |()| given_up())))
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
