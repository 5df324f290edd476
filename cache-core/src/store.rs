//! What a backend implements: primitives, no policy.

use std::any::{Any, TypeId};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_core::future::BoxFuture;

use crate::{
    CacheError, CacheStats, Clock, Entry, InvalidationBus, Lease, LeaseOutcome, Selector, Timestamp,
};

/// What [`CacheStore::on_removal`] is handed. It must not block.
pub type RemovalListener = Arc<dyn Fn(&Selector) + Send + Sync>;

/// A place that keeps entries: the memory of the process, a Redis, two tiers.
///
/// A backend implements this and nothing else; [`ReadThrough`](crate::ReadThrough) makes a
/// [`CacheService`](crate::CacheService) of it. What follows is the contract; the suite
/// `cache_testkit::cache_conformance!` holds a backend to it.
///
#[doc = include_str!("store.md")]
///
/// # Consistency
///
/// One key behaves like one register: a `fetch` that begins after a `store`, `fill` or `remove` of
/// that key returned sees its effect or a later one's. A store may drop any entry at any time (to
/// make room, because it expired). A `peek` never shows what a `fetch` begun at that moment would
/// not.
///
/// # Leases
///
/// A *fill* stores a value that was loaded elsewhere, so it must not undo what happened during the
/// load. It carries the [`Lease`] taken before the load began. Every `store` and every `remove`
/// that selects the key revokes the leases on it, whether or not an entry was there; a lease also
/// runs out by itself. A fill under a lease that was revoked or has run out changes nothing.
/// `fill` and `abandon` revoke nothing. A store may revoke more leases than it must.
///
/// # Clone, `Arc`, `Box`
///
/// A clone of a store, where there is one, is another handle to the same entries. `Arc<S>` and
/// `Box<S>` of a store are stores.
///
/// # Cancel safety
///
/// Every future may be dropped at any await point. The operation then has happened or not; what it
/// would have locked, leased or counted is released.
#[async_trait]
pub trait CacheStore: fmt::Debug + Send + Sync + 'static {
    /// What this process already holds. Never blocks, never does I/O.
    ///
    /// *Behaviour*
    /// - Missing key, or one this process would have to ask for: `None`.
    /// - Entry past its stale window: `None`. A store may return one that is stale within its
    ///   window; a service returns only fresh ones.
    /// - Never fails: an invalid key is a missing one.
    fn peek(&self, key: &str) -> Option<Entry>;

    /// Looks the key up wherever this store keeps it.
    ///
    /// *Behaviour*
    /// - Missing key, or entry past its stale window: `Ok(None)`.
    /// - Entry that is stale within its window: `Ok(Some(..))`; the reader asks
    ///   [`Entry::is_fresh`].
    /// - An absent value that is remembered: an entry that [is absent](Entry::is_absent).
    ///
    /// # Errors
    ///
    /// The backend's, and [`InvalidKey`](crate::ErrorKind::InvalidKey).
    async fn fetch(&self, key: &str) -> Result<Option<Entry>, CacheError>;

    /// Looks many keys up, in one round trip where the backend can.
    ///
    /// *Behaviour*
    /// - One slot per key, in order; a key that is named twice has two slots.
    /// - No keys: `Ok(vec![])` without I/O.
    /// - Each slot as [`fetch`](Self::fetch).
    ///
    /// # Errors
    ///
    /// As [`fetch`](Self::fetch), for all keys together.
    async fn fetch_many(&self, keys: &[String]) -> Result<Vec<Option<Entry>>, CacheError>;

    /// Looks the key up where other processes may have changed it, although this one holds a fresh
    /// entry: it is due for a refresh, which another may have done.
    ///
    /// *Behaviour*
    /// - As [`fetch`](Self::fetch). A store of tiers asks past the one in the process, which holds what
    ///   was found afterwards.
    ///
    /// # Errors
    ///
    /// As [`fetch`](Self::fetch).
    async fn fetch_shared(&self, key: &str) -> Result<Option<Entry>, CacheError> {
        self.fetch(key).await
    }

    /// [`fetch_shared`](Self::fetch_shared) of many keys, in one round trip where the backend can.
    ///
    /// *Behaviour*
    /// - As [`fetch_many`](Self::fetch_many) and [`fetch_shared`](Self::fetch_shared).
    ///
    /// # Errors
    ///
    /// As [`fetch_many`](Self::fetch_many).
    async fn fetch_many_shared(&self, keys: &[String]) -> Result<Vec<Option<Entry>>, CacheError> {
        self.fetch_many(keys).await
    }

    /// Writes an entry; the last writer wins.
    ///
    /// *Behaviour*
    /// - Revokes leases on the key.
    /// - Overwrites an entry, value and lifetimes both.
    /// - A draft is settled with this store's clock and default TTL.
    /// - An entry that is not servable any more, a TTL of zero included: whatever was under the
    ///   key is gone afterwards.
    ///
    /// # Errors
    ///
    /// The backend's, [`InvalidKey`](crate::ErrorKind::InvalidKey), and
    /// [`TooLarge`](crate::ErrorKind::TooLarge) where the backend has a limit; then nothing is
    /// stored.
    async fn store(&self, key: &str, entry: Entry) -> Result<(), CacheError>;

    /// Writes many entries, in one round trip where the backend can.
    ///
    /// *Behaviour*
    /// - Each as [`store`](Self::store); of a key that is named twice the last entry stays.
    /// - No entries: `Ok(())` without I/O.
    /// - Not atomic: a reader may see some of them, and an error may leave some of them written.
    ///
    /// # Errors
    ///
    /// As [`store`](Self::store). An invalid key is found before anything is written.
    async fn store_many(&self, entries: Vec<(String, Entry)>) -> Result<(), CacheError>;

    /// Removes what `what` selects.
    ///
    /// *Behaviour*
    /// - Revokes leases on every selected key, present or not.
    /// - Nothing selected is there: `Ok`, not an error.
    /// - Returns how many servable entries it removed, where the backend knows.
    /// - No keys in [`Selector::Keys`]: nothing happens.
    ///
    /// # Errors
    ///
    /// The backend's. Entries may then have been removed in part; removing again is harmless.
    async fn remove(&self, what: &Selector) -> Result<Option<u64>, CacheError>;

    /// [`remove`](Self::remove), then tells the other nodes over `bus`: together, where the store
    /// knows the bus as its own.
    ///
    /// *Behaviour*
    /// - Nobody hears of the removal before it has been done.
    /// - Returns what `remove` returns.
    ///
    /// # Errors
    ///
    /// Those of `remove`, and then nobody was told by this call or not everything was removed; those
    /// of [`publish`](InvalidationBus::publish), and then it was removed here and others may not
    /// know. Doing it again is harmless.
    ///
    /// # Cancel safety
    ///
    /// A dropped call may have removed without telling. Whoever must not leave it so does it again.
    async fn remove_and_tell(
        &self,
        what: &Selector,
        bus: &dyn InvalidationBus,
    ) -> Result<Option<u64>, CacheError> {
        let removed = self.remove(what).await?;
        bus.publish(what).await?;
        Ok(removed)
    }

    /// [`store`](Self::store), then tells the other nodes over `bus` that the key was overwritten:
    /// together, where the store knows the bus as its own.
    ///
    /// *Behaviour*
    /// - Nobody hears of the write before it has been done.
    ///
    /// # Errors
    ///
    /// Those of `store` and of [`publish`](InvalidationBus::publish), as
    /// [`remove_and_tell`](Self::remove_and_tell).
    ///
    /// # Cancel safety
    ///
    /// As [`remove_and_tell`](Self::remove_and_tell).
    async fn store_and_tell(
        &self,
        key: &str,
        entry: Entry,
        bus: &dyn InvalidationBus,
    ) -> Result<(), CacheError> {
        self.store(key, entry).await?;
        bus.publish(&Selector::key(key)).await
    }

    /// Whether [`remove_and_tell`](Self::remove_and_tell) of keys and
    /// [`store_and_tell`](Self::store_and_tell) are one call over `bus`, which is up or down as a whole.
    /// If not, whoever has to know which of the two has failed asks for one after the other.
    ///
    /// ```
    /// use cache_core::{CacheError, CacheStore, InvalidationBus, Selector};
    ///
    /// async fn remove(store: &dyn CacheStore, bus: &dyn InvalidationBus) -> Result<(), CacheError> {
    ///     let what = Selector::key("org:acme");
    ///     if store.tells_with(bus) {
    ///         store.remove_and_tell(&what, bus).await?;
    ///     } else {
    ///         store.remove(&what).await?;
    ///         bus.publish(&what).await?; // failed, it can be tried again by itself
    ///     }
    ///     Ok(())
    /// }
    /// ```
    fn tells_with(&self, bus: &dyn InvalidationBus) -> bool {
        let _ = bus;
        false
    }

    /// After how long a call gives up by itself. What it was asked may be done until then, be its
    /// future dropped before: whoever has a time limit of their own waits for so long at least. A
    /// removal by prefix may be many calls. `None`: what was dropped is not done later.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use cache_core::CacheStore;
    ///
    /// /// The time limit of a call, for whoever wants this one.
    /// fn limit(store: &dyn CacheStore, wanted: Duration) -> Duration {
    ///     wanted.max(store.call_timeout().unwrap_or_default())
    /// }
    /// ```
    fn call_timeout(&self) -> Option<Duration> {
        None
    }

    /// Asks for the right to fill `key`, good for `ttl`.
    ///
    /// *Behaviour*
    /// - A store whose every caller is in this process may grant any number of leases on a key:
    ///   the engine asks for one at a time.
    /// - A shared store grants one at a time and answers [`LeaseOutcome::Held`] meanwhile.
    /// - A store that notices a fresh entry may answer [`LeaseOutcome::Fresh`].
    /// - A lease on an absent key leaves nothing behind when it runs out.
    ///
    /// # Errors
    ///
    /// The backend's, and [`InvalidKey`](crate::ErrorKind::InvalidKey).
    async fn lease(&self, key: &str, ttl: Duration) -> Result<LeaseOutcome, CacheError>;

    /// Asks for the right to fill `key` although a fresh entry is there: one that is to be
    /// refreshed ahead of time, or one that says "absent" where a value is wanted. A store whose
    /// [`lease`](Self::lease) answers with fresh entries does better than to ask that.
    ///
    /// *Behaviour*
    /// - As [`lease`](Self::lease), but never [`LeaseOutcome::Fresh`] for what a shared store
    ///   found; the entry stays readable meanwhile.
    ///
    /// # Errors
    ///
    /// As [`lease`](Self::lease).
    async fn lease_to_replace(&self, key: &str, ttl: Duration) -> Result<LeaseOutcome, CacheError> {
        self.lease(key, ttl).await
    }

    /// Stores under a lease.
    ///
    /// *Behaviour*
    /// - `true`: stored, as [`store`](Self::store) would; where leases are granted one at a time,
    ///   this one is used up.
    /// - `false`: the lease was revoked or has run out; nothing changed.
    ///
    /// # Errors
    ///
    /// As [`store`](Self::store).
    async fn fill(&self, lease: Lease, entry: Entry) -> Result<bool, CacheError>;

    /// Stores under a lease like [`fill`](Self::fill), or else removes what is under the key.
    /// Either way every other lease on the key is revoked. This is how a near tier ends a write:
    /// the value stays only if nothing else happened to the key meanwhile.
    ///
    /// A store that cannot do that in one step removes, which is always right.
    ///
    /// *Behaviour*
    /// - `true`: the entry is there. `false`: the key is absent.
    ///
    /// # Errors
    ///
    /// As [`fill`](Self::fill); what is under the key is then as `remove` would leave it.
    async fn fill_or_remove(&self, lease: Lease, entry: Entry) -> Result<bool, CacheError> {
        drop(entry);
        self.remove(&Selector::Keys(vec![lease.key().to_owned()])).await?;
        Ok(false)
    }

    /// A lease that needs nobody else, for a load that goes on although the rest of the store is
    /// in trouble: what is filled under it is kept in this process alone. `None`: nothing is kept.
    ///
    /// # Errors
    ///
    /// As [`lease`](Self::lease).
    async fn lease_here(&self, key: &str, ttl: Duration) -> Result<Option<Lease>, CacheError> {
        let _ = (key, ttl);
        Ok(None)
    }

    /// Gives a lease back unused, so that the next caller need not wait for it to run out. Where
    /// leases are granted side by side there is nothing to give back.
    ///
    /// *Behaviour*
    /// - A lease that was revoked, used or has run out: nothing happens.
    ///
    /// # Errors
    ///
    /// The backend's; the lease then runs out by itself.
    async fn abandon(&self, lease: Lease) -> Result<(), CacheError>;

    /// Counters. What a store cannot tell is 0.
    fn stats(&self) -> CacheStats;

    /// What [`peek`](Self::peek) gives, if it is fresh: what every hit goes through. A store that
    /// can tell freshness as it finds the entry does it in one go.
    fn peek_fresh(&self, key: &str) -> Option<Entry> {
        self.peek(key).filter(|entry| self.clock().is_before(entry.fresh_until()))
    }

    /// The value of a fresh entry, if the store has it at hand decoded as the type `of`: the
    /// shortest way to a hit. `None` says nothing about the entry. The caller, who downcasts it in
    /// any case, finds out whether it really is one: a store may answer with another now and then,
    /// if that saves a hit the second look.
    ///
    /// `before` is another deadline of the caller's, on the system's clock: if it has passed when
    /// the value is found, by the [cheap clock](Clock::coarse_now) at the latest, the answer is
    /// `None`. So both are decided by one look at the clock. [`Timestamp::MAX`]: there is none.
    fn peek_value(
        &self,
        key: &str,
        of: TypeId,
        before: Timestamp,
    ) -> Option<Arc<dyn Any + Send + Sync>> {
        let _ = (key, of, before);
        None
    }

    /// Tells the store that `entry`, which is what it has under `key`, has been decoded for the
    /// first time: one that can have values at hand may keep it so.
    fn keep_value(&self, key: &str, entry: &Entry) {
        let _ = (key, entry);
    }

    /// Ends when `key` may have been filled, written or removed by another node: a load that waits
    /// for another's looks again then, and not only when its timer says. `None`: this store hears
    /// of no such thing. Registered when called, not when polled.
    fn changed(&self, key: &str) -> Option<BoxFuture<'static, ()>> {
        let _ = key;
        None
    }

    /// Hands over a listener that is called with every removal and write that this store learns of
    /// by itself, rather than from its caller: after it has been applied here. Stores without such
    /// a source drop the listener.
    fn on_removal(&self, listener: RemovalListener) {
        drop(listener);
    }

    /// The clock by which this store's entries live: the system's, unless it was given another.
    fn clock(&self) -> Clock {
        Clock::system()
    }
}
