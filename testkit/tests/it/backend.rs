//! A backend as a user of the family would write one: a map behind a mutex, with its own leases.
//! It can be told to have a bug, to prove that the suite finds it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use cache_core::{
    CacheError, CacheStats, CacheStore, Clock, Entry, Lease, LeaseOutcome, ReadThrough, Selector,
    Timestamp, check_key,
};
use cache_testkit::{CacheHarness, Capabilities, Capability, ManualClock};

/// What is wrong with the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Bug {
    #[default]
    None,
    FillIgnoresLease,
    FillIgnoresLeaseEnd,
    RemoveRevokesNothing,
    PrefixRevokesNothing,
    ClearRevokesNothing,
    StoreRevokesNothing,
    FillRevokesAll,
    ExpiryUnchecked,
    ExpiryEarly,
    OverwriteKeepsTtl,
    PrefixIsSubstring,
    PrefixIsGlob,
    DuplicatesCollapse,
    ZeroTtlKeepsOld,
    AbandonRemoves,
    CountsExpired,
    LeaseIsAnEntry,
    SettlesWithoutLocalTtl,
    KeysCaseInsensitive,
    StoreManyKeepsFirst,
}

/// One lease at a time per key, or any number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Leases {
    #[default]
    SideBySide,
    Exclusive,
}

#[derive(Debug, Default)]
struct State {
    entries: HashMap<String, Entry>,
    /// Leases that may fill, by key: id and end.
    leases: HashMap<String, Vec<(u64, Timestamp)>>,
    next_lease: u64,
}

#[derive(Debug, Default)]
pub(crate) struct MapStore {
    state: Mutex<State>,
    clock: Clock,
    bug: Bug,
    leases: Leases,
}

impl MapStore {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, ..Self::default() }
    }

    pub(crate) fn with_bug(self, bug: Bug) -> Self {
        Self { bug, ..self }
    }

    pub(crate) fn with_leases(self, leases: Leases) -> Self {
        Self { leases, ..self }
    }

    fn has(&self, bug: Bug) -> bool {
        self.bug == bug
    }

    fn place(&self, key: &str) -> String {
        if self.has(Bug::KeysCaseInsensitive) { key.to_lowercase() } else { key.to_owned() }
    }

    fn live(&self, entry: &Entry) -> bool {
        let now = self.clock.now();
        match self.bug {
            Bug::ExpiryUnchecked => true,
            Bug::ExpiryEarly => entry.is_servable(now + Duration::from_millis(1)),
            _ => entry.is_servable(now),
        }
    }

    fn read(&self, key: &str) -> Option<Entry> {
        let found = self.state.lock().unwrap().entries.get(&self.place(key)).cloned();
        found.filter(|entry| self.live(entry))
    }

    fn put(&self, state: &mut State, key: &str, entry: Entry) {
        let now = self.clock.now();
        let ttl = Duration::from_secs(300);
        let mut entry = match self.bug {
            Bug::SettlesWithoutLocalTtl => entry.settle(now, ttl),
            _ => entry.settle_local(now, ttl),
        };
        let key = self.place(key);
        if let (Some(old), Bug::OverwriteKeepsTtl) = (state.entries.get(&key), self.bug) {
            let bytes = entry.bytes().map(<[u8]>::to_vec);
            entry = Entry::restore(bytes, old.fresh_until(), old.servable_until());
        }
        if entry.is_servable(now) || self.has(Bug::ExpiryUnchecked) {
            state.entries.insert(key, entry);
        } else if !self.has(Bug::ZeroTtlKeepsOld) {
            state.entries.remove(&key);
        }
    }
}

#[async_trait]
impl CacheStore for MapStore {
    fn peek(&self, key: &str) -> Option<Entry> {
        self.read(key)
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
        Ok(keys.iter().map(|key| self.read(key)).collect())
    }

    async fn store(&self, key: &str, entry: Entry) -> Result<(), CacheError> {
        check_key(key)?;
        let mut state = self.state.lock().unwrap();
        if !self.has(Bug::StoreRevokesNothing) {
            state.leases.remove(&self.place(key));
        }
        self.put(&mut state, key, entry);
        Ok(())
    }

    async fn store_many(&self, mut entries: Vec<(String, Entry)>) -> Result<(), CacheError> {
        entries.iter().try_for_each(|(key, _)| check_key(key))?;
        if self.has(Bug::StoreManyKeepsFirst) {
            entries.reverse();
        }
        for (key, entry) in entries {
            self.store(&key, entry).await?;
        }
        Ok(())
    }

    async fn remove(&self, what: &Selector) -> Result<Option<u64>, CacheError> {
        if let Selector::Keys(keys) = what {
            keys.iter().try_for_each(|key| check_key(key))?;
        }
        let matches = |key: &str| match (what, self.bug) {
            (Selector::Prefix(part), Bug::PrefixIsSubstring) => key.contains(part.as_str()),
            (Selector::Prefix(part), Bug::PrefixIsGlob) => {
                let star = part.find('*').unwrap_or(part.len());
                key.starts_with(&part[..star])
            }
            _ => what.matches(key),
        };
        let revokes = !matches!(
            (what, self.bug),
            (Selector::Keys(_), Bug::RemoveRevokesNothing)
                | (Selector::Prefix(_), Bug::PrefixRevokesNothing)
                | (Selector::All, Bug::ClearRevokesNothing)
        );
        let mut state = self.state.lock().unwrap();
        if revokes {
            state.leases.retain(|key, _| !matches(key));
        }
        let mut removed = 0;
        state.entries.retain(|key, entry| {
            let gone = matches(key);
            let counts = self.live(entry) || self.has(Bug::CountsExpired);
            removed += u64::from(gone && counts);
            !gone
        });
        Ok(Some(removed))
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
        let held = state.leases.entry(self.place(key)).or_default();
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
        let mut state = self.state.lock().unwrap();
        let held = state.leases.entry(self.place(lease.key())).or_default();
        let at = held.iter().position(|(id, _)| *id == lease.id());
        let over = self.clock.now() >= lease.valid_until() && !self.has(Bug::FillIgnoresLeaseEnd);
        match at {
            _ if self.has(Bug::FillIgnoresLease) => {}
            Some(at) if !over => drop(held.remove(at)),
            _ => return Ok(false),
        }
        if self.has(Bug::FillRevokesAll) {
            state.leases.clear();
        }
        self.put(&mut state, lease.key(), entry);
        Ok(true)
    }

    async fn abandon(&self, lease: Lease) -> Result<(), CacheError> {
        let mut state = self.state.lock().unwrap();
        if let Some(held) = state.leases.get_mut(&self.place(lease.key())) {
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

/// A harness of a service over a map, with `clock`, whose store `make` may still change.
pub(crate) fn harness_of(make: impl FnOnce(MapStore) -> MapStore) -> CacheHarness {
    let clock = ManualClock::new();
    let store = make(MapStore::new(clock.clock()));
    let capabilities = match store.leases {
        Leases::SideBySide => Capabilities::in_process(),
        Leases::Exclusive => Capabilities::in_process().with(Capability::ExclusiveLeases),
    };
    CacheHarness::new(ReadThrough::new(store)).clock(clock).capabilities(capabilities)
}

/// The same without its type, to put behind `Arc<dyn CacheStore>`.
pub(crate) fn shared_store(clock: &ManualClock) -> Arc<dyn CacheStore> {
    Arc::new(MapStore::new(clock.clock()))
}
