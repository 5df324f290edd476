//! The map as a [`CacheStore`].

use std::any::{Any, TypeId};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cache_core::{
    CacheError, CacheStats, CacheStore, Clock, Entry, InvalidationBus, Lease, LeaseOutcome,
    Selector, Timestamp, check_key,
};
use tokio::task::yield_now;

use super::{BATCH, Bug, HERE, Leases, MapStore, State};

#[async_trait]
impl CacheStore for MapStore {
    fn peek(&self, key: &str) -> Option<Entry> {
        self.read(key)
    }

    fn peek_value(
        &self,
        key: &str,
        of: TypeId,
        _before: Timestamp,
    ) -> Option<Arc<dyn Any + Send + Sync>> {
        self.read(key).filter(|entry| entry.is_fresh(self.clock.now()))?;
        let kept = self.state.lock().unwrap().values.get(key).cloned()?;
        (of == TypeId::of::<u64>()).then_some(kept)
    }

    fn keep_value(&self, key: &str, entry: &Entry) {
        let keeps = matches!(
            self.bug,
            Bug::KeepsValueOnStore | Bug::KeepsValueOnFill | Bug::KeepsValueOnStoreMany
        );
        if let (true, Ok(value)) = (keeps, entry.decode_arc::<u64>()) {
            self.state.lock().unwrap().values.insert(key.to_owned(), value);
        }
    }

    async fn fetch(&self, key: &str) -> Result<Option<Entry>, CacheError> {
        check_key(key)?;
        Ok(self.read(key))
    }

    async fn fetch_many(&self, keys: &[String]) -> Result<Vec<Option<Entry>>, CacheError> {
        keys.iter().try_for_each(|key| check_key(key))?;
        let mut keys = keys.to_vec();
        if self.has(Bug::DuplicatesCollapse) {
            keys.sort();
            keys.dedup();
        }
        let mut found: Vec<_> = keys.iter().map(|key| self.read(key)).collect();
        if self.has(Bug::FetchManyFirstBatch) {
            found.iter_mut().skip(BATCH).for_each(|slot| *slot = None);
        }
        if self.has(Bug::FetchManyUnexpired) {
            let entries = &self.state.lock().unwrap().entries;
            found = keys.iter().map(|key| entries.get(key).cloned()).collect();
        }
        Ok(found)
    }

    async fn fetch_shared(&self, key: &str) -> Result<Option<Entry>, CacheError> {
        if self.has(Bug::FetchSharedFindsNothing) { Ok(None) } else { self.fetch(key).await }
    }

    async fn fetch_many_shared(&self, keys: &[String]) -> Result<Vec<Option<Entry>>, CacheError> {
        let mut found = self.fetch_many(keys).await?;
        if self.has(Bug::FetchManySharedCollapses) {
            found.dedup_by_key(|slot| slot.is_none());
        }
        Ok(found)
    }

    async fn store(&self, key: &str, entry: Entry) -> Result<(), CacheError> {
        check_key(key)?;
        let revoke = |state: &mut State| {
            if !self.has(Bug::StoreRevokesNothing) {
                state.leases.remove(&self.lease_place(key));
            }
        };
        if self.has(Bug::StoreThenRevokes) {
            self.put(&mut self.state.lock().unwrap(), key, entry, Bug::KeepsValueOnStore);
            yield_now().await;
            revoke(&mut self.state.lock().unwrap());
            return Ok(());
        }
        let mut state = self.state.lock().unwrap();
        revoke(&mut state);
        self.put(&mut state, key, entry, Bug::KeepsValueOnStore);
        Ok(())
    }

    async fn store_many(&self, mut entries: Vec<(String, Entry)>) -> Result<(), CacheError> {
        entries.iter().try_for_each(|(key, _)| check_key(key))?;
        if self.has(Bug::StoreManyKeepsFirst) {
            entries.reverse();
        }
        if self.has(Bug::StoreManyFirstBatch) {
            entries.truncate(BATCH);
        }
        for (key, entry) in entries {
            self.put_one_of_many(&key, entry);
        }
        Ok(())
    }

    async fn remove(&self, what: &Selector) -> Result<Option<u64>, CacheError> {
        if let Selector::Keys(keys) = what {
            keys.iter().try_for_each(|key| check_key(key))?;
        }
        if self.has(Bug::RemoveThenRevokes) {
            let removed = self.remove_entries(what);
            yield_now().await;
            self.revoke(what);
            return Ok(Some(removed));
        }
        self.revoke(what);
        Ok(Some(self.remove_entries(what)))
    }

    async fn remove_and_tell(
        &self,
        what: &Selector,
        bus: &dyn InvalidationBus,
    ) -> Result<Option<u64>, CacheError> {
        if self.has(Bug::TellsFirst) {
            bus.publish(what).await?;
            yield_now().await;
        }
        let removed = self.remove(what).await?;
        if !matches!(self.bug, Bug::TellsFirst | Bug::TellsNobody) {
            bus.publish(what).await?;
        }
        Ok(removed)
    }

    async fn store_and_tell(
        &self,
        key: &str,
        entry: Entry,
        bus: &dyn InvalidationBus,
    ) -> Result<(), CacheError> {
        self.store(key, entry).await?;
        if !self.has(Bug::TellsNobody) {
            bus.publish(&Selector::key(key)).await?;
        }
        Ok(())
    }

    async fn lease(&self, key: &str, ttl: Duration) -> Result<LeaseOutcome, CacheError> {
        check_key(key)?;
        let now = self.clock.now();
        let mut state = self.state.lock().unwrap();
        let id = state.next_lease;
        state.next_lease += 1;
        if self.has(Bug::LeaseIsAnEntry) {
            let marker = Entry::restore(Some(b"0".to_vec()), now + ttl, now + ttl);
            state.entries.entry(key.to_owned()).or_insert(marker);
        }
        let held = state.leases.entry(self.lease_place(key)).or_default();
        held.retain(|(_, until)| now < *until);
        match (self.leases, held.first()) {
            (Leases::Exclusive, Some((_, until))) => {
                Ok(LeaseOutcome::Held { retry_after: now.until(*until) })
            }
            _ => {
                held.push((id, now + ttl));
                Ok(LeaseOutcome::Granted(Lease::new(key, id, now + ttl)))
            }
        }
    }

    async fn fill(&self, lease: Lease, entry: Entry) -> Result<bool, CacheError> {
        let (key, now) = (lease.key(), self.clock.now());
        let place = self.lease_place(key);
        let now = if self.has(Bug::FillIgnoresLeaseEnd) { Timestamp::ZERO } else { now };
        if self.has(Bug::FillChecksThenWrites) {
            if !self.state.lock().unwrap().takes(&place, &lease, now) {
                return Ok(false);
            }
            yield_now().await;
            self.put(&mut self.state.lock().unwrap(), key, entry, Bug::KeepsValueOnFill);
            return Ok(true);
        }
        let mut state = self.state.lock().unwrap();
        let ignored = match self.bug {
            Bug::FillIgnoresLease => true,
            Bug::AbsentIgnoresLease => entry.is_absent(),
            Bug::LeaseHereIsNeverRevoked => lease.id() == HERE,
            _ => false,
        };
        if !state.takes(&place, &lease, now) && !ignored {
            return Ok(false);
        }
        if self.has(Bug::FillRevokesAll) {
            state.leases.clear();
        }
        self.put(&mut state, key, entry, Bug::KeepsValueOnFill);
        Ok(true)
    }

    async fn fill_or_remove(&self, lease: Lease, entry: Entry) -> Result<bool, CacheError> {
        let what = Selector::key(lease.key());
        match self.bug {
            Bug::FillOrRemoveKeepsLeases => {
                let filled = self.fill(lease, entry).await?;
                if !filled {
                    self.remove_entries(&what);
                }
                Ok(filled)
            }
            Bug::FillOrRemoveLeavesOld => {
                let filled = self.fill(lease, entry).await?;
                self.revoke(&what);
                Ok(filled)
            }
            _ => {
                let mut state = self.state.lock().unwrap();
                let (place, now) = (self.lease_place(lease.key()), self.clock.now());
                let filled = state.takes(&place, &lease, now);
                state.leases.remove(&place);
                if filled {
                    self.put(&mut state, lease.key(), entry, Bug::KeepsValueOnFill);
                } else {
                    state.entries.remove(&self.place(lease.key()));
                    state.values.remove(&self.place(lease.key()));
                }
                Ok(filled)
            }
        }
    }

    async fn lease_here(&self, key: &str, ttl: Duration) -> Result<Option<Lease>, CacheError> {
        check_key(key)?;
        if self.has(Bug::LeaseHereIsNeverRevoked) {
            return Ok(Some(Lease::new(key, HERE, self.clock.now() + ttl)));
        }
        if self.leases == Leases::Exclusive {
            return Ok(None);
        }
        match self.lease(key, ttl).await? {
            LeaseOutcome::Granted(lease) => Ok(Some(lease)),
            _ => Ok(None),
        }
    }

    async fn abandon(&self, lease: Lease) -> Result<(), CacheError> {
        let mut state = self.state.lock().unwrap();
        if let Some(held) = state.leases.get_mut(&self.lease_place(lease.key())) {
            held.retain(|(id, _)| *id != lease.id());
        }
        if self.has(Bug::AbandonRemoves) {
            state.entries.remove(lease.key());
        }
        Ok(())
    }

    fn stats(&self) -> CacheStats {
        let entries = self.state.lock().unwrap().entries.len() as u64;
        CacheStats { entries, weighted_size: entries, ..CacheStats::default() }
    }

    fn clock(&self) -> Clock {
        self.clock.clone()
    }
}
