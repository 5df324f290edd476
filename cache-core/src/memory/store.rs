//! A [`CacheStore`] over a map in memory.

use std::any::{Any, TypeId};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use super::engine::{Address, KeyHash, MemoryEngine, Slot, Swept, TypeTag};
use super::stripes::Stripes;
use super::sweep::{Hand, Pass, Record, Tick};
use crate::{
    CacheError, CacheStats, CacheStore, Clock, Entry, Lease, LeaseOutcome, MAX_KEY_BYTES, Selector,
    Timestamp, check_key,
};

/// How many records of the sweep a write passes.
const SWEEP_PER_WRITE: usize = 8;
/// How many a fetch passes that finds nothing: it makes no record, and costs little besides.
const SWEEP_PER_MISS: usize = 4;
/// How many are passed where a record is made.
const SWEEP_PER_RECORD: usize = 4;

/// What every store in memory can be told.
#[derive(Clone, Debug)]
pub struct MemoryConfig {
    /// How long entries live whose policy sets no TTL.
    pub default_ttl: Duration,
    /// How long an entry stays that nobody reads; `None`: as long as it lives.
    pub time_to_idle: Option<Duration>,
    /// The clock by which entries live.
    pub clock: Clock,
}

/// A [`CacheStore`] over a [`MemoryEngine`].
///
/// Deadlines are checked on every read. Expired entries that nobody reads are freed by a sweep:
/// each write, and each fetch that finds nothing, passes a few of them in turn, and looks at
/// those whose time is over; the cost per operation does not grow with their number. Prefix
/// removal and clearing visit every entry.
pub struct MemoryStore<E> {
    /// `None` keeps nothing.
    engine: Option<E>,
    config: MemoryConfig,
    key_hash: KeyHash,
    stripes: Stripes,
    next_sweep: AtomicUsize,
    /// Apart from that of writes and missed reads: as often as there are many of these, the parts would come
    /// round to the same stripes over and over and leave others out.
    next_part: AtomicUsize,
}

impl<E: MemoryEngine> MemoryStore<E> {
    /// A store over `engine`; without one it keeps nothing, which is what a capacity of 0 means.
    #[must_use]
    pub fn new(engine: Option<E>, config: MemoryConfig) -> Self {
        let key_hash = engine.as_ref().and_then(E::key_hash).unwrap_or_default();
        let (next_sweep, next_part) = Default::default();
        Self { engine, config, key_hash, stripes: Stripes::new(), next_sweep, next_part }
    }

    /// The map; `None` keeps nothing.
    #[must_use]
    pub fn engine(&self) -> Option<&E> {
        self.engine.as_ref()
    }

    /// Frees every expired entry now and returns how many it freed. Its cost grows with the number
    /// of entries: for a maintenance job, where the sweep that comes with writes is not enough.
    pub fn sweep(&self) -> usize {
        (0..Stripes::len()).map(|turn| self.sweep_stripe(turn, usize::MAX, true)).sum()
    }

    /// Frees some of the expired entries and returns how many: of `parts` calls each sees to the next
    /// part, all of them to all. An entry that has not expired costs a nanosecond or so.
    pub fn sweep_part(&self, parts: usize) -> usize {
        let turns = Stripes::len().div_ceil(parts.max(1));
        let sweep = |_| {
            let turn = self.next_part.fetch_add(1, Ordering::Relaxed);
            self.sweep_stripe(turn, usize::MAX, false)
        };
        (0..turns).map(sweep).sum()
    }

    /// How many records the sweep keeps; for tests that it stays in proportion.
    #[doc(hidden)]
    pub fn sweep_records(&self) -> usize {
        (0..Stripes::len()).map(|turn| self.stripes.visit(turn, |hand| hand.len())).sum()
    }

    #[inline]
    fn address<'a>(&self, key: &'a str) -> Address<'a> {
        Address { hash: self.key_hash.of(key.as_bytes()), key }
    }

    /// What is held of the key and lives until the deadline that `deadline` picks, marked as read.
    #[inline]
    fn read(&self, key: &str, deadline: impl Fn(&Slot) -> Timestamp) -> Option<Entry> {
        let slot = self.engine.as_ref()?.get(self.address(key))?;
        if !self.config.clock.is_before(deadline(&slot)) {
            return None;
        }
        if let Some(idle) = self.config.time_to_idle {
            let now = self.config.clock.coarse_now();
            if now >= slot.read_at() + idle {
                return None;
            }
            slot.touch(now);
        }
        Some(slot.into_entry())
    }

    /// When `slot` may no longer be served, unless it is read or written before.
    fn ends(&self, slot: &Slot) -> Timestamp {
        let servable = slot.servable_until();
        self.config.time_to_idle.map_or(servable, |idle| servable.min(slot.read_at() + idle))
    }

    /// Whether `slot` may still be served at `now`.
    fn is_live(&self, slot: &Slot, now: Timestamp) -> bool {
        now < self.ends(slot)
    }

    fn grant(&self, key: &str, ttl: Duration) -> Lease {
        let generation = self.stripes.generation(self.address(key).hash);
        Lease::new(key, generation, self.config.clock.now() + ttl)
    }

    fn settle(&self, entry: Entry) -> Entry {
        entry.settle_local(self.config.clock.now(), self.config.default_ttl)
    }

    /// Puts a settled entry under the key, whose stripe is locked.
    fn put(&self, at: Address<'_>, entry: Entry, hand: &mut Hand) {
        let Some(engine) = &self.engine else { return };
        if !self.config.clock.is_before(entry.servable_until()) {
            engine.remove(at);
            return;
        }
        // What comes under a key takes over its record, which is not due before the old entry was.
        let old = engine.peek(at).filter(|old| old.servable_until() <= entry.servable_until());
        let ticket = old.as_ref().map_or_else(|| hand.next_ticket(), Slot::ticket);
        let slot = Slot::new(entry, ticket);
        if self.config.time_to_idle.is_some() {
            slot.touch(self.config.clock.coarse_now());
        }
        if old.is_none() {
            // Where records are made they are looked at, so that a key that comes and goes leaves few.
            self.pass(hand, SWEEP_PER_RECORD, false);
            hand.add(Record { hash: at.hash, ticket, due: tick(self.ends(&slot)) });
        }
        engine.insert(at, slot);
    }

    /// Lets the sweep pass `count` records of the next stripe.
    fn sweep_some(&self, count: usize) {
        let turn = self.next_sweep.fetch_add(1, Ordering::Relaxed);
        self.sweep_stripe(turn, count, false);
    }

    /// How many entries it freed.
    fn sweep_stripe(&self, turn: usize, count: usize, thorough: bool) -> usize {
        self.stripes.visit(turn, |hand| self.pass(hand, count, thorough))
    }

    /// How many entries it freed. The hand's stripe is locked.
    fn pass(&self, hand: &mut Hand, count: usize, thorough: bool) -> usize {
        let Some(engine) = &self.engine else { return 0 };
        let now = self.config.clock.coarse_now();
        let live = |slot: &Slot| Some(self.ends(slot)).filter(|ends| now < *ends);
        let mut removed = 0;
        hand.pass(Pass { now: tick(now), count, thorough }, |record| {
            match engine.sweep(record.hash, record.ticket, &live) {
                Swept::Kept(ends) => Some(tick(ends)),
                Swept::Removed => {
                    removed += 1;
                    None
                }
                Swept::Gone => None,
            }
        });
        removed
    }
}

fn tick(time: Timestamp) -> Tick {
    Tick::of_micros(time.as_micros())
}

impl<E: fmt::Debug> fmt::Debug for MemoryStore<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore")
            .field("engine", &self.engine)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl<E: MemoryEngine> CacheStore for MemoryStore<E> {
    #[inline]
    fn peek(&self, key: &str) -> Option<Entry> {
        self.read(key, Slot::servable_until)
    }

    #[inline]
    fn peek_fresh(&self, key: &str) -> Option<Entry> {
        self.read(key, Slot::fresh_until)
    }

    async fn fetch(&self, key: &str) -> Result<Option<Entry>, CacheError> {
        check_key(key)?;
        let found = self.peek(key);
        if found.is_none() {
            self.sweep_some(SWEEP_PER_MISS);
        }
        Ok(found)
    }

    async fn fetch_many(&self, keys: &[String]) -> Result<Vec<Option<Entry>>, CacheError> {
        keys.iter().try_for_each(|key| check_key(key))?;
        Ok(keys.iter().map(|key| self.peek(key)).collect())
    }

    async fn store(&self, key: &str, entry: Entry) -> Result<(), CacheError> {
        check_key(key)?;
        let (at, entry) = (self.address(key), self.settle(entry));
        self.stripes.revoke(at.hash, |hand| self.put(at, entry, hand));
        self.sweep_some(SWEEP_PER_WRITE);
        Ok(())
    }

    async fn store_many(&self, entries: Vec<(String, Entry)>) -> Result<(), CacheError> {
        entries.iter().try_for_each(|(key, _)| check_key(key))?;
        for (key, entry) in entries {
            self.store(&key, entry).await?;
        }
        Ok(())
    }

    async fn remove(&self, what: &Selector) -> Result<Option<u64>, CacheError> {
        let now = self.config.clock.now();
        let live = |slot: &Slot| self.is_live(slot, now);
        let prefix = match what {
            Selector::Keys(keys) => {
                keys.iter().try_for_each(|key| check_key(key))?;
                let remove = |key: &String| {
                    let at = self.address(key);
                    let engine = self.engine.as_ref();
                    self.stripes.revoke(at.hash, |_| engine.and_then(|engine| engine.remove(at)))
                };
                let removed = keys.iter().filter_map(remove).filter(|slot| live(slot)).count();
                self.sweep_some(SWEEP_PER_WRITE);
                return Ok(Some(removed as u64));
            }
            Selector::Prefix(prefix) => prefix.as_str(),
            Selector::All => "",
        };
        // First no fill that began before can commit any more, then what was committed goes.
        match prefix.len() {
            1..=MAX_KEY_BYTES => self.stripes.revoke_prefix(prefix),
            // Of no length that is worth remembering.
            _ => self.stripes.revoke_all(),
        }
        let engine = self.engine.as_ref();
        Ok(Some(engine.map_or(0, |engine| engine.remove_prefix(prefix, &live))))
    }

    async fn lease(&self, key: &str, ttl: Duration) -> Result<LeaseOutcome, CacheError> {
        check_key(key)?;
        // In this order: what is written after the look revokes the lease.
        let lease = self.grant(key, ttl);
        Ok(match self.peek_fresh(key) {
            Some(entry) => LeaseOutcome::Fresh(entry),
            None => LeaseOutcome::Granted(lease),
        })
    }

    async fn lease_to_replace(&self, key: &str, ttl: Duration) -> Result<LeaseOutcome, CacheError> {
        check_key(key)?;
        Ok(LeaseOutcome::Granted(self.grant(key, ttl)))
    }

    async fn fill(&self, lease: Lease, entry: Entry) -> Result<bool, CacheError> {
        if !self.config.clock.is_before(lease.valid_until()) {
            return Ok(false);
        }
        let (at, entry) = (self.address(lease.key()), self.settle(entry));
        let filled =
            self.stripes.commit(at.hash, at.key, lease.id(), |hand| self.put(at, entry, hand));
        self.sweep_some(SWEEP_PER_WRITE);
        Ok(filled.is_some())
    }

    async fn fill_or_remove(&self, lease: Lease, entry: Entry) -> Result<bool, CacheError> {
        let runs = self.config.clock.is_before(lease.valid_until());
        let (at, entry) = (self.address(lease.key()), self.settle(entry));
        let filled = self.stripes.revoke_others(at.hash, at.key, lease.id(), |valid, hand| {
            if valid && runs {
                self.put(at, entry, hand);
            } else if let Some(engine) = &self.engine {
                engine.remove(at);
            }
            valid && runs
        });
        self.sweep_some(SWEEP_PER_WRITE);
        Ok(filled)
    }

    async fn abandon(&self, _lease: Lease) -> Result<(), CacheError> {
        // A lease is only the memory of a generation: there is nothing to give back.
        Ok(())
    }

    fn peek_value(
        &self,
        key: &str,
        of: TypeId,
        before: Timestamp,
    ) -> Option<Arc<dyn Any + Send + Sync>> {
        // In the last second before its freshness ends the entry itself is asked.
        let engine = self.engine.as_ref()?;
        let (value, fresh_until) = engine.value(self.address(key), TypeTag::of(of))?;
        self.config.clock.is_before_both(fresh_until, before).then_some(value)
    }

    fn keep_value(&self, key: &str, entry: &Entry) {
        let (Some(engine), at) = (&self.engine, self.address(key)) else { return };
        // With an idle time every read has to reach the entry, to mark it.
        if self.config.time_to_idle.is_some() {
            return;
        }
        self.stripes.write(at.hash, |_| {
            if let Some(slot) = engine.peek(at).filter(|slot| slot.keeps(entry)) {
                engine.keep_value(at, slot);
            }
        });
    }

    fn stats(&self) -> CacheStats {
        let Some(engine) = &self.engine else {
            return CacheStats::default();
        };
        CacheStats {
            entries: engine.len(),
            weighted_size: engine.weight(),
            bytes: engine.bytes(),
            evictions: engine.evictions(),
            ..CacheStats::default()
        }
    }

    fn clock(&self) -> Clock {
        self.config.clock.clone()
    }
}
