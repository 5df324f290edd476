//! [`CacheStore`] on Redis.
//!
//! Rules:
//!
//! 1. Whatever stands under a key, a read gives a value that was written there or a miss.
//! 2. A lease id is used for one request. One whose outcome is not known is given back, so that
//!    others need not wait for it to run out.
//! 3. Nothing outside `<namespace>:` is read, written or removed.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use cache_core::{
    CacheError, CacheStats, CacheStore, Clock, Entry, InvalidationBus, Lease, LeaseOutcome,
    Selector, Timestamp, check_key,
};
use futures_util::future::try_join_all;
use redis::Value;

use self::batch::Batches;
use self::foreign::Begun;
use self::large::LargeValues;
use self::reading::Moment;
use crate::bus::RedisBus;
use crate::config::RedisConfig;
use crate::connection::{Call, Connections, Lane, Retry};
use crate::giving_back::{GivingBack, Tell};
use crate::key::{Keyspace, chunks};
use crate::script::{self, Purpose};
use crate::wire::{ClockOffset, Expiry, encode_entry};

mod batch;
mod foreign;
mod large;
mod leasing;
mod reading;
mod removal;
mod seats;
mod telling;
mod writing;

/// Keys in one command.
const CHUNK: usize = 512;
/// Values above this go through the connection for large ones.
const BULK_BYTES: usize = 64 * 1024;

const READ: Call = Call::new(Lane::Small).retry(Retry::Once);
const READ_LARGE: Call = Call::new(Lane::Bulk).retry(Retry::Once);

/// Entries in Redis: a far tier for other stores, or the store of a
/// [`RedisCacheService`](crate::RedisCacheService).
pub struct RedisStore {
    connections: Connections,
    keys: Keyspace,
    clock: Clock,
    default_ttl: Duration,
    max_value_bytes: usize,
    /// How often a key held what is no value of ours.
    unreadable: AtomicU64,
    batches: Batches,
    large: Arc<LargeValues>,
    giving_back: GivingBack,
    tell: Option<Arc<Tell>>,
}

impl RedisStore {
    /// A store over connections that are there already.
    #[must_use]
    pub fn new(connections: Connections) -> Self {
        let RedisConfig { namespace, clock, default_ttl, max_value_bytes, .. } =
            connections.config().clone();
        Self {
            giving_back: GivingBack::new(connections.clone()),
            keys: Keyspace::new(&namespace),
            clock,
            default_ttl,
            max_value_bytes,
            unreadable: AtomicU64::new(0),
            batches: Batches::default(),
            large: Arc::default(),
            tell: None,
            connections,
        }
    }

    /// Wakes those who wait for a lease: when this store fills or gives back a key that others asked
    /// for meanwhile, they hear [`BusEvent::Filled`](cache_core::BusEvent::Filled) over `bus`, in
    /// the same round trip. When this store finds a key held, it leaves word that it waits. The bus
    /// has to be of the same server and namespace; it is not kept alive.
    #[must_use]
    pub fn with_bus(mut self, bus: &RedisBus) -> Self {
        let tell = Arc::new(Tell { voice: bus.voice(), keys: self.keys.clone() });
        self.giving_back.set_tell(Arc::clone(&tell));
        self.tell = Some(tell);
        self
    }

    /// The connections, for their counters and to shut them down.
    #[must_use]
    pub fn connections(&self) -> &Connections {
        &self.connections
    }

    /// How often a read found bytes under a key that are no value: cut short, garbled, written by
    /// a newer version, of another Redis type. Each was a miss. Of many keys that are read together a
    /// key of another type is a miss and not counted: MGET tells it from an absent one in no way.
    #[must_use]
    pub fn unreadable(&self) -> u64 {
        self.unreadable.load(Ordering::Relaxed)
    }

    /// The entry is being written: whether it is large is known before it is read.
    fn writes(&self, key: &str, entry: &Entry) {
        self.large.saw(key, entry.bytes().map_or(0, <[u8]>::len));
    }

    fn offset(&self) -> ClockOffset {
        ClockOffset::ahead(self.connections.offset_micros())
    }

    fn moment(&self) -> Moment {
        Moment { now: self.clock.coarse_now(), offset: self.offset() }
    }
}

/// An entry that was servable at no time: where it is to be filled in, the key is removed.
fn over() -> Entry {
    Entry::restore(None::<Vec<u8>>, Timestamp::ZERO, Timestamp::ZERO)
}

#[async_trait]
impl CacheStore for RedisStore {
    fn peek(&self, _key: &str) -> Option<Entry> {
        None
    }

    async fn fetch(&self, key: &str) -> Result<Option<Entry>, CacheError> {
        check_key(key)?;
        let begun = Begun::now();
        let reply = self.value(key).await?;
        let at = self.moment();
        self.entry(key, reply, at, begun).await
    }

    async fn fetch_many(&self, keys: &[String]) -> Result<Vec<Option<Entry>>, CacheError> {
        keys.iter().try_for_each(|key| check_key(key))?;
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let begun = Begun::now();
        // What most calls are: one command, whose values are in the order of the keys.
        if keys.len() <= CHUNK && !self.connections.is_cluster() {
            let values = self.values(keys.len(), keys.iter()).await?;
            return self.entries(keys, values, begun).await;
        }
        let fetch = |chunk: Vec<usize>| async move {
            let values = self.values(chunk.len(), chunk.iter().map(|&at| &keys[at])).await?;
            Ok::<_, CacheError>(chunk.into_iter().zip(values))
        };
        let name = |at: usize| self.keys.key(&keys[at]);
        let chunks = chunks(keys.len(), CHUNK, self.connections.is_cluster(), name);
        let found = try_join_all(chunks.into_iter().map(fetch)).await?;
        let mut values = vec![Value::Nil; keys.len()];
        for (at, value) in found.into_iter().flatten() {
            values[at] = value;
        }
        self.entries(keys, values, begun).await
    }

    async fn store(&self, key: &str, entry: Entry) -> Result<(), CacheError> {
        self.writes(key, &entry);
        let put = self.put(key, entry)?;
        self.write(&put).await
    }

    async fn store_many(&self, entries: Vec<(String, Entry)>) -> Result<(), CacheError> {
        entries.iter().for_each(|(key, entry)| self.writes(key, entry));
        self.write_many(entries).await
    }

    async fn remove(&self, what: &Selector) -> Result<Option<u64>, CacheError> {
        self.take_away(what).await
    }

    async fn remove_and_tell(
        &self,
        what: &Selector,
        bus: &dyn InvalidationBus,
    ) -> Result<Option<u64>, CacheError> {
        match self.own(bus) {
            Some(bus) => self.take_away_and_tell(what, bus).await,
            None => self.tell_after(self.take_away(what), what, bus).await,
        }
    }

    async fn store_and_tell(
        &self,
        key: &str,
        entry: Entry,
        bus: &dyn InvalidationBus,
    ) -> Result<(), CacheError> {
        let what = Selector::key(key);
        self.writes(key, &entry);
        match self.own(bus) {
            Some(bus) => self.put_and_tell(key, entry, &what, bus).await,
            None => self.tell_after(self.store(key, entry), &what, bus).await,
        }
    }

    fn tells_with(&self, bus: &dyn InvalidationBus) -> bool {
        self.own(bus).is_some()
    }

    fn call_timeout(&self) -> Option<Duration> {
        Some(self.connections.config().operation_timeout)
    }

    async fn lease(&self, key: &str, ttl: Duration) -> Result<LeaseOutcome, CacheError> {
        self.take_lease(key, ttl, Purpose::Load).await
    }

    async fn lease_to_replace(&self, key: &str, ttl: Duration) -> Result<LeaseOutcome, CacheError> {
        self.take_lease(key, ttl, Purpose::Refresh).await
    }

    async fn fill(&self, lease: Lease, entry: Entry) -> Result<bool, CacheError> {
        let key = self.keys.key(lease.key());
        let unsettled = self.giving_back.unless_settled(&key, lease.id());
        self.writes(lease.key(), &entry);
        let entry = self.settle(lease.key(), entry)?;
        // What is over by our clock is so for the server too, however little theirs differ.
        let record = match Expiry::of(entry.servable_until(), self.clock.now()) {
            Expiry::Past => encode_entry(&over(), ClockOffset::default()),
            _ => encode_entry(&entry, self.offset()),
        };
        let lane = if record.len() > BULK_BYTES { Lane::Bulk } else { Lane::Small };
        let message = self.message(&key);
        let notice = self.notice(message.as_deref());
        let call = script::Call::Fill { key: &key, id: lease.id(), record: &record, notice };
        let reply =
            self.connections.evaluate(Call::new(lane), &call.by_hash(), || call.by_source()).await;
        let filled = self.connections.convert::<u8>(reply?)? == 1;
        unsettled.settled();
        Ok(filled)
    }

    async fn abandon(&self, lease: Lease) -> Result<(), CacheError> {
        let key = self.keys.key(lease.key());
        let unsettled = self.giving_back.unless_settled(&key, lease.id());
        let message = self.message(&key);
        let notice = self.notice(message.as_deref());
        let call = script::Call::Abandon { key: &key, id: lease.id(), notice };
        // Repeating it is harmless.
        self.connections.evaluate(READ, &call.by_hash(), || call.by_source()).await?;
        unsettled.settled();
        Ok(())
    }

    fn stats(&self) -> CacheStats {
        CacheStats { errors: self.unreadable(), ..CacheStats::default() }
    }

    fn clock(&self) -> Clock {
        self.clock.clone()
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore").field("connections", &self.connections).finish_non_exhaustive()
    }
}
