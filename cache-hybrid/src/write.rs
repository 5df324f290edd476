//! Writes and removals.
//!
//! # Why the near tier never keeps what the far one does not have
//!
//! A *commit* to the near tier needs a lease taken there before the value was read or written in
//! the far tier; whatever changes the key revokes it. The steps are:
//!
//! - read: R1 near lease · R2 read far · R3 commit
//! - removal: D1 revoke and purge near · D2 remove far (and tell) · D3 revoke and purge near
//! - load: L1 near lease · L2 far lease · L3 loader · L4 fill far · L5 commit or purge as W4 does, once
//!   the far tier has said that it was filled
//! - write: W1 revoke and purge near · W2 near lease · W3 write far (and tell) · W4 commit and
//!   revoke every other lease, or purge near (`CacheStore::fill_or_remove`)
//!
//! *Read and removal.* What R2 finds is old only if it runs before D2. Then R1 is before D3, and D3
//! either revokes the lease (R3 after D3) or purges what was committed (R3 before D3). So when the
//! removal returns nothing old is there, and nothing old comes.
//!
//! *Read and write.* The same with W3 and W4, which revokes or replaces.
//!
//! *A load* is to a removal or a write what a read is: its value is old only if L3 began before D2 or
//! W3, and then D2 and W3 revoke its far lease, D3 and W4 its near one. To a read it is a write: one
//! that has read before L4 and comes after it is not kept, for L5 has revoked its lease.
//!
//! *Two writes, or a write and a removal.* A write commits only if nobody revoked between its W2
//! and W4. Each other one revokes at its beginning and at its end. If either is in between, the
//! write drops the key. If neither is, the other one began before W2 and ends after W4, so its own
//! end comes later: it revokes, finds its own lease revoked by this W4, and drops the key. So of
//! operations that overlap the last one to end leaves the key absent; a value stays only where the
//! far tier was written by nobody else meanwhile, and so has the same.
//!
//! *Without a far tier* there is nothing that the near one could be older than: of many keys each has its
//! lease when it is its turn, and of operations that overlap one comes last.
//!
//! *Other nodes* hear of it after D2 or W3, and then revoke and purge. What they read before is
//! revoked or purged; what they read later is the new state. Loads in flight are detached after
//! that, here and there.
//!
//! *A caller that goes away in the middle* leaves it open whether the far tier was reached. That is
//! then as if it had failed: a removal is owed to the far tier, which comes before anything else is
//! asked of it, and then the near one is purged. In this order: a read that takes its lease after the
//! purge finds what is owed.
//!
//! *A write that is late.* A far tier may go on with what it was asked for as long as it
//! [takes at most](cache_core::CacheStore::call_timeout), and W3 ends no sooner: it is asked with all of
//! that time, or not at all. So nothing that failed comes after the removal that is owed for it.

use std::time::Duration;

use cache_core::{CacheError, Entry, ErrorKind, Lease, Selector, Timestamp};
use futures_util::FutureExt;
use futures_util::future::join_all;
use tokio::sync::watch;

use crate::inner::Inner;
use crate::spans::Asked;
use crate::stats::bump;
use crate::teller::{TOGETHER, Told};

/// A write or removal under way. Dropped before it is done, it counts as failed.
struct Unfinished<'a> {
    inner: &'a Inner,
    what: Option<&'a Selector>,
}

impl Unfinished<'_> {
    fn end(mut self) {
        self.what = None;
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        let (inner, Some(what)) = (self.inner, self.what) else { return };
        // First: who reads far once near is emptied finds it owed.
        inner.owe(what);
        // A tier in the process does it when first polled; another is seen to by a task.
        if inner.near_remove(what).now_or_never().is_none()
            && let (Some(near), Some(runtime)) = (inner.near.clone(), inner.runtime())
        {
            let what = what.clone();
            // Ends by itself: it is one operation.
            drop(runtime.spawn(async move { near.remove(&what).await }));
        }
        inner.detach(what);
    }
}

impl Inner {
    pub(crate) async fn remove(&self, what: &Selector) -> Result<Option<u64>, CacheError> {
        let unfinished = Unfinished { inner: self, what: Some(what) };
        let here = self.near_remove(what).await;
        let there = self.remove_far(what).await;
        let again = self.near_remove(what).await;
        self.detach(what);
        unfinished.end();
        let (here, there, _) = (here?, there?, again?);
        Ok(if self.far.is_some() { there } else { here })
    }

    pub(crate) async fn store(&self, key: &str, entry: Entry) -> Result<(), CacheError> {
        let what = Selector::key(key);
        let unfinished = Unfinished { inner: self, what: Some(&what) };
        let until = self.clock.now() + self.write_budget();
        let begun = self.near_remove(&what).await;
        let lease = self.near_lease(key, self.write_lease()).await;
        let written = self.write_far(&what, key, entry.clone(), until).await;
        let ended = self.end_write(lease, entry, &what, written.is_ok()).await;
        self.detach(&what);
        unfinished.end();
        begun.and(written).and(ended)
    }

    /// Each key is named once.
    pub(crate) async fn store_many(&self, entries: Vec<(String, Entry)>) -> Result<(), CacheError> {
        let parts = self.missed.parts(entries, |(key, _)| key);
        let stored = join_all(parts.into_iter().map(|(_, part)| self.store_part(part))).await;
        stored.into_iter().collect()
    }

    async fn store_part(&self, entries: Vec<(String, Entry)>) -> Result<(), CacheError> {
        let what = Selector::Keys(entries.iter().map(|(key, _)| key.clone()).collect());
        let unfinished = Unfinished { inner: self, what: Some(&what) };
        let until = self.clock.now() + self.write_budget();
        let begun = self.near_remove(&what).await;
        let mut leases = Vec::with_capacity(entries.len());
        if self.far.is_some() {
            for (key, _) in &entries {
                leases.push(self.near_lease(key, self.write_lease()).await);
            }
        }
        let mut leases = leases.into_iter();
        let written = self.write_far_many(entries.clone(), &what, until).await;
        let mut ended = Ok(());
        for (key, entry) in entries {
            // Leases may be of several keys: what is kept of one revokes some of the others of this call. Those
            // are read from the far tier again; without one nothing is between the steps of a key.
            let lease = match &self.far {
                Some(_) => leases.next().flatten(),
                None => self.near_lease(&key, self.write_lease()).await,
            };
            let what = Selector::key(key);
            ended = self.end_write(lease, entry, &what, written.is_ok()).await.and(ended);
        }
        self.detach(&what);
        unfinished.end();
        begun.and(written).and(ended)
    }

    /// What a write may take in all: a call to be written and, where that does not tell as well, one to
    /// be told. However short calls are, the wait for others that are told together is not.
    fn write_budget(&self) -> Duration {
        let call = self.terms.far_timeout;
        call.saturating_add(call.max(TOGETHER))
    }

    /// Longer than a write takes.
    fn write_lease(&self) -> Duration {
        self.write_budget().saturating_mul(2)
    }

    /// Step W4.
    async fn end_write(
        &self,
        lease: Option<Lease>,
        entry: Entry,
        what: &Selector,
        written: bool,
    ) -> Result<(), CacheError> {
        match (lease, &self.near) {
            (Some(lease), Some(near)) if written && self.trust.serves() => {
                near.fill_or_remove(lease, self.near_form(entry)).await.map(drop)
            }
            _ => self.near_remove(what).await.map(drop),
        }
    }

    async fn write_far(
        &self,
        what: &Selector,
        key: &str,
        entry: Entry,
        until: Timestamp,
    ) -> Result<(), CacheError> {
        if let Some(far) = self.far.as_deref() {
            let (asked, mut sent) = (Asked::key("store", key), false);
            if let Some(bus) = self.tells_with_far()
                && self.teller.may_tell(key)
            {
                let written = self.write_to_far(asked, far, [key], |far| {
                    sent = true;
                    bump(&self.counters.told);
                    far.store_and_tell(key, entry, bus)
                });
                return written.await.inspect_err(|error| self.owe_if(sent, error, what));
            }
            let written = self.write_to_far(asked, far, [key], |far| {
                sent = true;
                far.store(key, entry)
            });
            written.await.inspect_err(|error| self.owe_if(sent, error, what))?;
        }
        self.tell_written(what, until).await
    }

    async fn write_far_many(
        &self,
        entries: Vec<(String, Entry)>,
        what: &Selector,
        until: Timestamp,
    ) -> Result<(), CacheError> {
        if let Some(far) = self.far.as_deref() {
            let (asked, mut sent) = (Asked::keys("store_many", entries.len()), false);
            let Selector::Keys(keys) = what else { return Ok(()) };
            let written = self.write_to_far(asked, far, keys.iter().map(String::as_str), |far| {
                sent = true;
                far.store_many(entries)
            });
            written.await.inspect_err(|error| self.owe_if(sent, error, what))?;
        }
        self.tell_written(what, until).await
    }

    /// Tells of writes: of each key at once, or within a millisecond together with others if it was
    /// told of just now.
    async fn tell_written(&self, what: &Selector, until: Timestamp) -> Result<(), CacheError> {
        let (Some(_), Selector::Keys(keys)) = (&self.bus, what) else { return Ok(()) };
        let (now, later): (Vec<_>, Vec<_>) =
            keys.iter().cloned().partition(|key| self.teller.may_tell(key));
        let gathered = (!later.is_empty()).then(|| self.teller.add(later));
        let told = match now.as_slice() {
            [] => Ok(()),
            _ => self.tell_or_owe(&Selector::Keys(now), until).await,
        };
        match gathered {
            Some(gathered) => self.told_together(gathered, until).await.and(told),
            None => told,
        }
    }

    /// Waits until writes are told that were gathered: else nobody would know of them if this process
    /// died just now, although their callers had an `Ok`.
    async fn told_together(
        &self,
        mut told: watch::Receiver<Told>,
        until: Timestamp,
    ) -> Result<(), CacheError> {
        let told = tokio::select! {
            biased;
            told = told.wait_for(Option::is_some) => told.ok().and_then(|told| told.clone()),
            () = self.clock.sleep_until(until) => None,
        };
        // It is told all the same, or owed.
        let late = || CacheError::new(ErrorKind::Timeout, "the other nodes were not told in time");
        told.unwrap_or_else(|| Err(late()))
    }

    /// After a write that failed the far tier may have the old value, the new one or neither. Then
    /// it is to have none; but what was not sent, or refused for good, leaves all as it was.
    fn owe_if(&self, sent: bool, error: &CacheError, what: &Selector) {
        if sent {
            self.owe_unless_refused(error, what);
        }
    }
}
