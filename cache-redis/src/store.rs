//! [`CacheStore`] on Redis.
//!
//! Rules:
//!
//! 1. Whatever stands under a key, a read gives a value that was written there or a miss.
//! 2. A lease id is used for one request. One whose outcome is not known is given back, so that
//!    others need not wait for it to run out.
//! 3. Nothing outside `<namespace>:` is read, written or removed.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use cache_core::{
    CacheError, CacheStats, CacheStore, Clock, Entry, ErrorKind, Lease, LeaseOutcome, Selector,
    Timestamp, check_key,
};
use futures_util::future::try_join_all;
use redis::{Cmd, Pipeline, Value};

use crate::config::RedisConfig;
use crate::connection::{Call, Connections, Lane, Retry};
use crate::giving_back::GivingBack;
use crate::key::{Keyspace, chunks};
use crate::script::{self, LeaseReply, Purpose};
use crate::wire::{ClockOffset, Decoded, Expiry, decode, encode_entry, foreign_entry};

/// Keys in one command.
const CHUNK: usize = 512;
/// Keys that one step of a SCAN looks at.
const SCAN_COUNT: usize = 1_000;
/// Values above this go through the connection for large ones.
const BULK_BYTES: usize = 64 * 1024;
/// How soon to look again while another node holds the lease.
const RETRY_AFTER: Duration = Duration::from_millis(25);

const READ: Call = Call::new(Lane::Small).retry(Retry::Once);
const SCRIPT: Call = Call::new(Lane::Small);
const SCAN: Call = Call::new(Lane::Scan).retry(Retry::Once);

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
    giving_back: GivingBack,
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
            connections,
        }
    }

    /// The connections, for their counters and to shut them down.
    #[must_use]
    pub fn connections(&self) -> &Connections {
        &self.connections
    }

    /// How often a read found bytes under a key that are no value: cut short, garbled, written by
    /// a newer version, of another Redis type. Each was a miss.
    #[must_use]
    pub fn unreadable(&self) -> u64 {
        self.unreadable.load(Ordering::Relaxed)
    }

    fn offset(&self) -> ClockOffset {
        ClockOffset::between(self.clock.now(), self.connections.server_now())
    }

    /// What a reply to GET holds, as far as it can be told without the key's TTL.
    fn read(&self, reply: Value) -> Result<Read, CacheError> {
        let bytes = match reply {
            Value::Nil => return Ok(Read::Nothing),
            Value::BulkString(bytes) => bytes,
            // Someone keeps a list or a hash there.
            Value::ServerError(error) if error.code() == "WRONGTYPE" => {
                self.unreadable.fetch_add(1, Ordering::Relaxed);
                return Ok(Read::Nothing);
            }
            refused => return self.connections.convert::<Vec<u8>>(refused).map(|_| Read::Nothing),
        };
        Ok(match decode(&bytes) {
            Decoded::Value(value) => Read::Entry(value.to_entry(self.offset())),
            Decoded::LeaseOnly(_) => Read::Nothing,
            Decoded::Foreign(_) => Read::Foreign(bytes),
            Decoded::Unknown(reason) => {
                self.unreadable.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(?reason, "a key holds bytes that are no value: a miss");
                Read::Nothing
            }
        })
    }

    /// The entry, if it may still be served; plain JSON lives as long as its key.
    async fn entry(&self, key: &str, read: Read) -> Result<Option<Entry>, CacheError> {
        let entry = match read {
            Read::Nothing => return Ok(None),
            Read::Entry(entry) => entry,
            Read::Foreign(json) => {
                let mut cmd = redis::cmd("PTTL");
                cmd.arg(key);
                let ttl = match self.connections.query::<i64>(READ, &cmd).await? {
                    -1 => None,
                    gone if gone < 0 => return Ok(None),
                    millis => Some(Duration::from_millis(millis.unsigned_abs())),
                };
                foreign_entry(&json, ttl, self.clock.now())
            }
        };
        Ok(Some(entry).filter(|entry| self.clock.is_before(entry.servable_until())))
    }

    fn settle(&self, key: &str, entry: Entry) -> Result<Entry, CacheError> {
        let bytes = entry.bytes().map_or(0, <[u8]>::len);
        if bytes > self.max_value_bytes {
            let message =
                format!("the value has {bytes} bytes; at most {} are taken", self.max_value_bytes);
            return Err(CacheError::new(ErrorKind::TooLarge, message).with_key(key));
        }
        Ok(entry.settle(self.clock.now(), self.default_ttl))
    }

    /// The command that writes `entry`, or removes the key if it is over already.
    fn write(&self, key: &str, entry: &Entry) -> (Cmd, usize) {
        let mut cmd;
        let mut bytes = 0;
        match Expiry::of(entry.servable_until(), self.clock.now()) {
            Expiry::Past => {
                cmd = redis::cmd("UNLINK");
                cmd.arg(key);
            }
            expiry => {
                let record = encode_entry(entry, self.offset());
                bytes = record.len();
                cmd = redis::cmd("SET");
                cmd.arg(key).arg(record);
                if let Expiry::After(millis) = expiry {
                    cmd.arg("PX").arg(millis);
                }
            }
        }
        (cmd, bytes)
    }

    async fn unlink(&self, keys: &[String]) -> Result<(), CacheError> {
        let unlink = |chunk: Vec<usize>| {
            let mut cmd = redis::cmd("UNLINK");
            for at in chunk {
                cmd.arg(&keys[at]);
            }
            async move { self.connections.query::<u64>(READ, &cmd).await }
        };
        let chunks = chunks(keys, CHUNK, self.connections.is_cluster());
        try_join_all(chunks.into_iter().map(unlink)).await.map(drop)
    }

    /// Removes by SCAN and UNLINK, page by page, on every primary.
    async fn unlink_matching(&self, pattern: &str) -> Result<(), CacheError> {
        let sweep = |primary: crate::connection::Primary| async move {
            let mut cursor = 0_u64;
            loop {
                let mut scan = redis::cmd("SCAN");
                scan.arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(SCAN_COUNT);
                let (next, page) = primary.query::<(u64, Vec<Vec<u8>>)>(SCAN, &scan).await?;
                // In a cluster the keys of a command must share a slot: one key each, all at once.
                let size = if self.connections.is_cluster() { 1 } else { page.len().max(1) };
                let unlink = |keys: &[Vec<u8>]| {
                    let mut cmd = redis::cmd("UNLINK");
                    for key in keys {
                        cmd.arg(key);
                    }
                    let primary = &primary;
                    async move { primary.query::<u64>(SCAN, &cmd).await }
                };
                try_join_all(page.chunks(size).map(unlink)).await?;
                if next == 0 {
                    return Ok::<_, CacheError>(());
                }
                cursor = next;
            }
        };
        let primaries = self.connections.primaries().await?;
        try_join_all(primaries.into_iter().map(sweep)).await.map(drop)
    }

    async fn ask(
        &self,
        key: &str,
        ttl: Duration,
        purpose: Purpose<'_>,
    ) -> Result<Asked, CacheError> {
        let id = fastrand::u64(..);
        let call = script::Call::Lease { key, id, ttl, purpose };
        // Rule 2: dropped or failed on the way, the lease is given back.
        let unsettled = self.giving_back.unless_settled(key, id);
        let reply = self.connections.evaluate(SCRIPT, &call.by_hash(), || call.by_source()).await;
        let reply: LeaseReply = self.connections.convert(reply?)?;
        unsettled.settled();
        Ok(Asked { id, reply })
    }

    async fn take_lease(
        &self,
        key: &str,
        ttl: Duration,
        purpose: Purpose<'_>,
    ) -> Result<LeaseOutcome, CacheError> {
        check_key(key)?;
        let (name, now) = (self.keys.key(key), self.clock.now());
        let mut asked = self.ask(&name, ttl, purpose).await?;
        if let LeaseReply::Present { bytes, ttl: key_ttl } = &asked.reply {
            match decode(bytes) {
                Decoded::Value(value) => {
                    return Ok(LeaseOutcome::Fresh(value.to_entry(self.offset())));
                }
                Decoded::Foreign(json) => {
                    return Ok(LeaseOutcome::Fresh(foreign_entry(json, *key_ttl, now)));
                }
                // Garbage makes room for the lease, if it stands there still.
                Decoded::LeaseOnly(_) | Decoded::Unknown(_) => {
                    self.unreadable.fetch_add(1, Ordering::Relaxed);
                    let found = bytes.clone();
                    asked = self.ask(&name, ttl, Purpose::Repair(&found)).await?;
                }
            }
        }
        Ok(match asked.reply {
            LeaseReply::Granted => LeaseOutcome::Granted(Lease::new(key, asked.id, now + ttl)),
            LeaseReply::Held(left) => LeaseOutcome::Held { retry_after: left.min(RETRY_AFTER) },
            // It has changed again in between.
            LeaseReply::Present { .. } => LeaseOutcome::Held { retry_after: Duration::ZERO },
        })
    }
}

struct Asked {
    id: u64,
    reply: LeaseReply,
}

/// An entry that was servable at no time: where it is to be filled in, the key is removed.
fn over() -> Entry {
    Entry::restore(None::<Vec<u8>>, Timestamp::ZERO, Timestamp::ZERO)
}

/// What a GET found.
enum Read {
    Nothing,
    Entry(Entry),
    /// Plain JSON that someone else wrote.
    Foreign(Vec<u8>),
}

#[async_trait]
impl CacheStore for RedisStore {
    fn peek(&self, _key: &str) -> Option<Entry> {
        None
    }

    async fn fetch(&self, key: &str) -> Result<Option<Entry>, CacheError> {
        check_key(key)?;
        let key = self.keys.key(key);
        let mut cmd = redis::cmd("GET");
        cmd.arg(&key);
        let read = self.read(self.connections.reply(READ, &cmd).await?)?;
        self.entry(&key, read).await
    }

    async fn fetch_many(&self, keys: &[String]) -> Result<Vec<Option<Entry>>, CacheError> {
        keys.iter().try_for_each(|key| check_key(key))?;
        let keys: Vec<_> = keys.iter().map(|key| self.keys.key(key)).collect();
        let keys = &keys;
        let fetch = |chunk: Vec<usize>| {
            let mut cmd = redis::cmd("MGET");
            for &at in &chunk {
                cmd.arg(&keys[at]);
            }
            async move {
                let values = self.connections.query::<Vec<Value>>(READ, &cmd).await?;
                let read = |(at, value)| self.read(value).map(|read| (at, read));
                chunk.into_iter().zip(values).map(read).collect::<Result<Vec<_>, _>>()
            }
        };
        let chunks = chunks(keys, CHUNK, self.connections.is_cluster());
        let found = try_join_all(chunks.into_iter().map(fetch)).await?;
        let mut slots = vec![None; keys.len()];
        for (at, read) in found.into_iter().flatten() {
            slots[at] = self.entry(&keys[at], read).await?;
        }
        Ok(slots)
    }

    async fn store(&self, key: &str, entry: Entry) -> Result<(), CacheError> {
        check_key(key)?;
        let entry = self.settle(key, entry)?;
        let (cmd, bytes) = self.write(&self.keys.key(key), &entry);
        let lane = if bytes > BULK_BYTES { Lane::Bulk } else { Lane::Small };
        let call = Call::new(lane).retry(Retry::Once);
        self.connections.query::<Value>(call, &cmd).await.map(drop)
    }

    async fn store_many(&self, entries: Vec<(String, Entry)>) -> Result<(), CacheError> {
        entries.iter().try_for_each(|(key, _)| check_key(key))?;
        let mut writes = Vec::with_capacity(entries.len());
        let mut keys = Vec::with_capacity(entries.len());
        for (key, entry) in entries {
            let entry = self.settle(&key, entry)?;
            let key = self.keys.key(&key);
            writes.push(self.write(&key, &entry).0);
            keys.push(key);
        }
        let writes = &writes;
        let send = |chunk: Vec<usize>| async move {
            let mut pipeline = Pipeline::with_capacity(chunk.len());
            for at in chunk {
                pipeline.add_command(writes[at].clone());
            }
            let call = Call::new(Lane::Bulk).retry(Retry::Once);
            let replies = self.connections.pipeline(call, &pipeline).await?;
            replies.into_iter().try_for_each(|reply| self.connections.convert(reply))
        };
        let chunks = chunks(&keys, CHUNK, self.connections.is_cluster());
        try_join_all(chunks.into_iter().map(send)).await.map(drop)
    }

    async fn remove(&self, what: &Selector) -> Result<Option<u64>, CacheError> {
        match what {
            Selector::Keys(keys) => {
                keys.iter().try_for_each(|key| check_key(key))?;
                let keys: Vec<_> = keys.iter().map(|key| self.keys.key(key)).collect();
                self.unlink(&keys).await?;
            }
            Selector::Prefix(prefix) => self.unlink_matching(&self.keys.pattern(prefix)).await?,
            Selector::All => self.unlink_matching(&self.keys.pattern("")).await?,
            other => {
                let message = format!("the Redis store cannot remove by {other:?}");
                return Err(CacheError::new(ErrorKind::Config, message));
            }
        }
        // Redis counts leases on absent keys too, so how many entries there were is not known.
        Ok(None)
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
        let entry = self.settle(lease.key(), entry)?;
        // What is over by our clock is so for the server too, however little theirs differ.
        let record = match Expiry::of(entry.servable_until(), self.clock.now()) {
            Expiry::Past => encode_entry(&over(), ClockOffset::default()),
            _ => encode_entry(&entry, self.offset()),
        };
        let lane = if record.len() > BULK_BYTES { Lane::Bulk } else { Lane::Small };
        let call = script::Call::Fill { key: &key, id: lease.id(), record: &record };
        let reply =
            self.connections.evaluate(Call::new(lane), &call.by_hash(), || call.by_source()).await;
        let filled = self.connections.convert::<u8>(reply?)? == 1;
        unsettled.settled();
        Ok(filled)
    }

    async fn abandon(&self, lease: Lease) -> Result<(), CacheError> {
        let key = self.keys.key(lease.key());
        let call = script::Call::Abandon { key: &key, id: lease.id() };
        // Repeating it is harmless.
        self.connections.evaluate(READ, &call.by_hash(), || call.by_source()).await.map(drop)
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
