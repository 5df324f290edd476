//! Waiting for a load: what its callers get, and when they give it up.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;

use super::Inner;
use super::chain::{self, Waiting};
use super::counters::Source;
use super::flight::{Flight, Outcome, Seen, Task, Watch};
use super::flights::Flight as _;
use crate::{CacheError, CacheStore, Entry, ErrorKind, Policy, Timestamp};

/// How long a task that loads is waited for when its time is over. If the whole process stood still
/// meanwhile, it has its turn before anyone gives it up.
const GRACE: Duration = Duration::from_secs(1);

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

/// Why a waiter got nothing.
pub(super) enum Unserved {
    Failed(CacheError),
    /// Nobody has tried: who has a loader may.
    NotTried(CacheError),
}

impl<S: CacheStore> Inner<S> {
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
    ) -> Result<Waited, Unserved> {
        let mut watch = flight.watch();
        let mut overdue = false;
        loop {
            let Seen { interim, outcome, version } = watch.look();
            let fallback = self.fallback(interim, held.as_ref(), policy);
            let error = match outcome {
                Some(Outcome::Found(entry)) => {
                    return Ok(Waited { entry, from: From::Store(Source::Remote) });
                }
                Some(Outcome::Loaded(entry)) => return Ok(Waited { entry, from: From::Load }),
                Some(Outcome::Failed(error)) => Unserved::Failed(error),
                Some(Outcome::NotTried(error)) => Unserved::NotTried(error),
                None if overdue => {
                    // The next caller loads.
                    self.flights.land(key, flight.id());
                    Unserved::Failed(overdue_load(key))
                }
                None => {
                    let (until, waiting) = match fallback {
                        Some(fallback)
                            if !self.clock.is_before(soft_until)
                                || self.clock.is_before(fallback.entry.fresh_until()) =>
                        {
                            return Ok(fallback);
                        }
                        Some(_) => (soft_until, None),
                        None => match chain::wait_for(key, flight, version) {
                            Ok(waiting) => (Timestamp::MAX, waiting),
                            Err(error) => return Err(Unserved::Failed(error)),
                        },
                    };
                    // Apart, so that who need not wait has no room for the timers.
                    overdue =
                        self.progress(&mut watch, flight.task(), until, waiting).boxed().await;
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
    async fn progress(
        &self,
        watch: &mut Watch,
        task: &Task,
        until: Timestamp,
        _waiting: Option<Waiting>,
    ) -> bool {
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
}

/// For whoever waits for a load that does not come to its end.
#[cold]
fn overdue_load(key: &str) -> CacheError {
    let message = "the load has not ended in its time: the task that loads is not being run, or the \
                   backend does not answer";
    CacheError::new(ErrorKind::Timeout, message).with_key(key)
}
