//! What a load does before it calls its loader: looks again, and takes the lease.

use std::time::Duration;

use futures_core::future::BoxFuture;
use futures_util::future::select_all;

use super::Inner;
use super::flight::Flight;
use super::load::Acceptance;
use crate::{CacheError, CacheStore, Entry, ErrorKind, Lease, LeaseOutcome, Policy, Timestamp};

/// What the loading task found before it would call the loader.
pub(super) enum Lookup {
    /// A fresh entry: nothing to load.
    Fresh(Entry),
    /// Load, and store under the lease if there is one.
    Missing(Option<Lease>),
    /// Do not load now.
    Refused(CacheError),
    /// Not to be loaded for this caller; another may.
    NotTried(CacheError),
}

/// What a load learned when it asked for its lease.
pub(super) enum Asked {
    Settled(Lookup),
    /// Another node loads the key: look again after so long, or when the store hears that it has
    /// changed.
    Held(Duration, Option<BoxFuture<'static, ()>>),
}

/// A key's load, as far as it decides what entries mean for it.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) flight: &'a Flight,
    pub(super) key: &'a str,
    pub(super) policy: &'a Policy,
    pub(super) takes: Acceptance,
    /// When it waits for another node's load no longer. The loader has a time of its own.
    pub(super) deadline: Timestamp,
}

impl<S: CacheStore> Inner<S> {
    /// Looks again, now that no other load of the key can begin, and takes the lease to load it.
    pub(super) async fn look_up(&self, wanted: Wanted<'_>) -> Lookup {
        let key = wanted.key;
        loop {
            let found = match self.store.peek(key) {
                Some(entry) if self.is_due(&entry, wanted.policy) => {
                    // Another node may have refreshed it.
                    self.store.fetch_shared(key).await
                }
                Some(entry) if self.clock.is_before(entry.fresh_until()) => Ok(Some(entry)),
                _ => self.store.fetch(key).await,
            };
            let found = match found {
                Ok(found) => found,
                Err(error) => {
                    self.note(&self.failed(error, key), "fetch");
                    return Lookup::Missing(self.lease_here(key, wanted.policy).await);
                }
            };
            let replaces = self.is_replaced(found.as_ref());
            if let Some(done) = self.assess(wanted, found) {
                return done;
            }
            match self.ask(wanted, replaces).await {
                Asked::Settled(done) => return done,
                Asked::Held(retry_after, changed) => {
                    let again = self.clock.now() + retry_after;
                    self.pause(changed.into_iter().collect(), wanted.deadline.min(again)).await;
                }
            }
        }
    }

    /// Whether it is fresh, and to be refreshed all the same.
    pub(super) fn is_due(&self, entry: &Entry, policy: &Policy) -> bool {
        let now = self.clock.now();
        entry.is_fresh(now) && policy.wants_refresh(entry, now, self.default_ttl)
    }

    /// If `found` is not the answer, it is loaded anew although it is fresh.
    pub(super) fn is_replaced(&self, found: Option<&Entry>) -> bool {
        found.is_some_and(|entry| entry.is_fresh(self.clock.now()))
    }

    /// Asks for the lease; `replaces`: although a fresh entry is there.
    pub(super) async fn ask(&self, wanted: Wanted<'_>, replaces: bool) -> Asked {
        let Wanted { key, policy, .. } = wanted;
        let budget = policy.load_budget();
        // Before the question, so that no answer can make a change go unnoticed.
        let changed = self.store.changed(key);
        let mut leased = match replaces {
            true => self.store.lease_to_replace(key, budget).await,
            false => self.store.lease(key, budget).await,
        };
        if let Ok(LeaseOutcome::Fresh(entry)) = leased {
            if let Some(done) = self.assess(wanted, Some(entry)) {
                return Asked::Settled(done);
            }
            // Of no use to this caller, though the store deems it fresh: "absent" to one who wants
            // a value, or over by our clock and not quite by the store's.
            leased = self.store.lease_to_replace(key, budget).await;
        }
        Asked::Settled(match leased {
            Ok(LeaseOutcome::Granted(lease)) => Lookup::Missing(Some(lease)),
            Ok(LeaseOutcome::Fresh(entry)) => {
                self.assess(wanted, Some(entry)).unwrap_or(Lookup::Missing(None))
            }
            Ok(LeaseOutcome::Held { .. }) if policy.loads_alone => Lookup::Missing(None),
            Ok(LeaseOutcome::Held { .. }) if self.clock.now() >= wanted.deadline => {
                Lookup::Refused(timed_out(key))
            }
            Ok(LeaseOutcome::Held { retry_after }) => {
                return Asked::Held(retry_after, changed);
            }
            Err(error) => {
                self.note(&self.failed(error, key), "lease");
                Lookup::Missing(self.lease_here(key, policy).await)
            }
        })
    }

    /// While the backend is in trouble the loader answers; what it says is kept in this process,
    /// if the store can do that, and else nowhere.
    pub(super) async fn lease_here(&self, key: &str, policy: &Policy) -> Option<Lease> {
        let leased = self.store.lease_here(key, policy.load_budget()).await;
        leased.unwrap_or_else(|error| {
            self.note(&self.failed(error, key), "lease_here");
            None
        })
    }

    /// Waits until `until`, or until one of the changes.
    pub(super) async fn pause(&self, changed: Vec<BoxFuture<'static, ()>>, until: Timestamp) {
        if changed.is_empty() {
            return self.clock.sleep_until(until).await;
        }
        tokio::select! {
            _ = select_all(changed) => {}
            () = self.clock.sleep_until(until) => {}
        }
    }

    /// What an entry found on the way means for the load: its end, or `None` to go on. One that
    /// may be served meanwhile is offered to the waiters.
    pub(super) fn assess(&self, wanted: Wanted<'_>, found: Option<Entry>) -> Option<Lookup> {
        let Wanted { flight, key, policy, takes, .. } = wanted;
        let now = self.clock.now();
        let entry = found.filter(|entry| takes.accepts(entry) && policy.serves(entry, now))?;
        let fresh = entry.is_fresh(now);
        if fresh && !policy.wants_refresh(&entry, now, self.default_ttl) {
            return Some(Lookup::Fresh(entry));
        }
        flight.offer(entry.clone());
        if !self.throttle.holds(key, now) {
            return None;
        }
        if fresh {
            return Some(Lookup::Fresh(entry));
        }
        let message = "the last refresh failed; the next is not to be tried yet";
        let error = CacheError::new(ErrorKind::Load, message).with_key(key).with_retryable(true);
        Some(Lookup::NotTried(error))
    }
}

fn timed_out(key: &str) -> CacheError {
    let message = "another node was loading the key for the whole load_timeout";
    CacheError::new(ErrorKind::Timeout, message).with_key(key)
}
