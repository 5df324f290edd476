//! A backend as a user of the family would write one: a map behind a mutex, with its own leases.
//! It can be told to have a bug, to prove that the suite finds it.

mod bug;
mod store;

use std::any::Any;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cache_core::{CacheStore, Clock, Entry, Lease, ReadThrough, Selector, Timestamp};
use cache_testkit::{CacheHarness, Capabilities, Capability, ManualClock};

pub(crate) use self::bug::Bug;

/// How many a store takes that stops after its first batch.
const BATCH: usize = 100;
/// The lease of [`Bug::LeaseHereIsNeverRevoked`].
const HERE: u64 = u64::MAX;
/// Its default TTL.
const TTL: Duration = Duration::from_secs(300);

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
    /// Decoded, with a bug that is about that.
    values: HashMap<String, Arc<dyn Any + Send + Sync>>,
}

impl State {
    /// Whether `lease` may fill; where it may, it is used up.
    fn takes(&mut self, place: &str, lease: &Lease, now: Timestamp) -> bool {
        let held = self.leases.entry(place.to_owned()).or_default();
        let at = held.iter().position(|(id, until)| *id == lease.id() && now < *until);
        at.map(|at| held.remove(at)).is_some()
    }
}

#[derive(Debug, Default)]
pub(crate) struct MapStore {
    state: Arc<Mutex<State>>,
    /// Which of its clients this is.
    client: usize,
    /// Keys that this client has written.
    own: Mutex<HashSet<String>>,
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

    /// Another client of the same entries.
    pub(crate) fn second(&self) -> Self {
        let (state, clock) = (Arc::clone(&self.state), self.clock.clone());
        let client = self.client + 1;
        Self { state, clock, client, bug: self.bug, leases: self.leases, own: Mutex::default() }
    }

    fn has(&self, bug: Bug) -> bool {
        self.bug == bug
    }

    fn place(&self, key: &str) -> String {
        if self.has(Bug::KeysCaseInsensitive) { key.to_lowercase() } else { key.to_owned() }
    }

    /// Where the leases on a key are.
    fn lease_place(&self, key: &str) -> String {
        let place = self.place(key);
        if self.has(Bug::LeasesPerClient) { format!("{}/{place}", self.client) } else { place }
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

    /// Writes; with the bug `keeps_value` what was decoded of the old entry stays.
    fn put(&self, state: &mut State, key: &str, entry: Entry, keeps_value: Bug) {
        let now = self.clock.now();
        let mut entry = match self.bug {
            Bug::SettlesWithoutLocalTtl => entry.settle(now, TTL),
            _ => entry.settle_local(now, TTL),
        };
        let key = self.place(key);
        self.own.lock().unwrap().insert(key.clone());
        if let (Some(old), Bug::OverwriteKeepsTtl) = (state.entries.get(&key), self.bug) {
            let bytes = entry.bytes().map(<[u8]>::to_vec);
            entry = Entry::restore(bytes, old.fresh_until(), old.servable_until());
        }
        if self.bug != keeps_value {
            state.values.remove(&key);
        }
        if entry.is_servable(now) || self.has(Bug::ExpiryUnchecked) {
            state.entries.insert(key, entry);
        } else if !self.has(Bug::ZeroTtlKeepsOld) {
            state.entries.remove(&key);
        }
    }

    /// Writes as one of a list.
    fn put_one_of_many(&self, key: &str, mut entry: Entry) {
        let mut state = self.state.lock().unwrap();
        let old = state.entries.get(key);
        if self.has(Bug::StoreManyUsesDefaultTtl) {
            let (bytes, end) = (entry.bytes().map(<[u8]>::to_vec), self.clock.now() + TTL);
            entry = Entry::restore(bytes, end, end);
        }
        if let (Some(old), Bug::StoreManyKeepsTtl) = (old, self.bug) {
            let bytes = entry.bytes().map(<[u8]>::to_vec);
            entry = Entry::restore(bytes, old.fresh_until(), old.servable_until());
        }
        let zero = !entry.clone().settle(self.clock.now(), TTL).is_servable(self.clock.now());
        if zero && self.has(Bug::StoreManyKeepsOldForZero) {
            return;
        }
        if !matches!(self.bug, Bug::StoreRevokesNothing | Bug::StoreManyRevokesNothing) {
            state.leases.remove(&self.lease_place(key));
        }
        self.put(&mut state, key, entry, Bug::KeepsValueOnStoreMany);
    }

    /// What a removal of `what` takes with this bug.
    fn selects(&self, what: &Selector, key: &str) -> bool {
        match (what, self.bug) {
            (Selector::Prefix(part), Bug::PrefixIsSubstring) => key.contains(part.as_str()),
            (Selector::Prefix(part), Bug::PrefixIsGlob) => {
                let star = part.find('*').unwrap_or(part.len());
                key.starts_with(&part[..star])
            }
            (Selector::Prefix(_), Bug::PrefixOfOwnKeys) => {
                what.matches(key) && self.own.lock().unwrap().contains(key)
            }
            (Selector::Keys(keys), Bug::RemovesFirstPage) => {
                keys.iter().take(BATCH).any(|own| own == key)
            }
            _ => what.matches(key),
        }
    }

    fn remove_entries(&self, what: &Selector) -> u64 {
        let mut state = self.state.lock().unwrap();
        let (mut removed, mut counted) = (0, 0);
        let State { entries, values, .. } = &mut *state;
        entries.retain(|key, entry| {
            let first_page = removed < BATCH || !self.has(Bug::RemovesFirstPage);
            let gone = first_page && self.selects(what, key);
            removed += usize::from(gone);
            counted += u64::from(gone && (self.live(entry) || self.has(Bug::CountsExpired)));
            if gone {
                values.remove(key);
            }
            !gone
        });
        counted
    }

    fn revoke(&self, what: &Selector) {
        let revokes = !matches!(
            (what, self.bug),
            (Selector::Keys(_), Bug::RemoveRevokesNothing)
                | (Selector::Prefix(_), Bug::PrefixRevokesNothing)
                | (Selector::All, Bug::ClearRevokesNothing)
        );
        let mine = self.lease_place("");
        let selected = |place: &str| {
            let key = place.strip_prefix(&mine);
            key.is_some_and(|key| {
                self.selects(what, key) || self.has(Bug::PrefixOfOwnKeys) && what.matches(key)
            })
        };
        if revokes {
            self.state.lock().unwrap().leases.retain(|place, _| !selected(place));
        }
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

/// The same with a second client of the map, as a server has them.
pub(crate) fn clients_of(make: impl FnOnce(MapStore) -> MapStore) -> CacheHarness {
    let clock = ManualClock::new();
    let store = make(MapStore::new(clock.clock()).with_leases(Leases::Exclusive));
    let second = ReadThrough::new(store.second());
    let capabilities = Capabilities::in_process().with(Capability::ExclusiveLeases);
    CacheHarness::new(ReadThrough::new(store))
        .second(second)
        .clock(clock)
        .capabilities(capabilities)
}

/// The same without its type, to put behind `Arc<dyn CacheStore>`.
pub(crate) fn shared_store(clock: &ManualClock) -> Arc<dyn CacheStore> {
    Arc::new(MapStore::new(clock.clock()))
}
