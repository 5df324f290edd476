//! What is asked of Redis to read, and what its replies hold.

use std::sync::atomic::Ordering;

use cache_core::{CacheError, Entry, ErrorKind, Timestamp};
use redis::{Cmd, Pipeline, Value};

use super::foreign::Begun;
use super::{READ, READ_LARGE, RedisStore};
use crate::wire::{ClockOffset, Decoded, decode};

pub(super) const MGET: &str = "MGET";
const GET: &str = "GET";

/// When a reply is looked at: asked once for many values.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    /// By the cheap clock: how long a process may hold a value ends early, not late.
    pub(super) now: Timestamp,
    pub(super) offset: ClockOffset,
}

/// What a GET found.
enum Read {
    Nothing,
    Entry(Entry),
    /// Plain JSON that someone else wrote.
    Foreign(Vec<u8>),
}

impl RedisStore {
    /// What a reply to GET holds, as far as it can be told without the key's TTL.
    fn read(&self, key: &str, reply: Value, at: Moment) -> Result<Read, CacheError> {
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
        self.large.saw(key, bytes.len());
        Ok(match decode(&bytes) {
            Decoded::Value(value) => Read::Entry(value.to_entry(at.offset, at.now)),
            Decoded::LeaseOnly(_) => Read::Nothing,
            Decoded::Foreign(_) => Read::Foreign(bytes),
            Decoded::Unknown(reason) => {
                self.unreadable.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(?reason, "a key holds bytes that are no value: a miss");
                Read::Nothing
            }
        })
    }

    /// What stands under the key, read on its own or, among many reads at once, in a batch.
    pub(super) async fn value(&self, key: &str) -> Result<Value, CacheError> {
        let is_large = self.large.has(key);
        let apart = is_large || self.connections.is_cluster();
        let alone = if apart { None } else { self.batches.alone() };
        if !apart
            && alone.is_none()
            && let Some(reply) = self.batches.read(&self.connections, self.keys.name(key)).await
        {
            return self.if_late(reply, std::iter::once(key));
        }
        let name = self.keys.name(key);
        let mut cmd = Cmd::with_capacity(2, GET.len() + name.len());
        cmd.arg(GET).arg(name);
        // Apart: it is two kilobytes, and would make a read in a batch as large, whose own part in it
        // is small.
        let call = if is_large { READ_LARGE } else { READ };
        let reply = Box::pin(self.connections.reply(call, &cmd)).await;
        self.if_late(reply, std::iter::once(key))
    }

    /// The reply. Where there was none in time, the values of `keys` may be too large for it.
    fn if_late<'k, T>(
        &self,
        reply: Result<T, CacheError>,
        keys: impl Iterator<Item = &'k str>,
    ) -> Result<T, CacheError> {
        if reply.as_ref().is_err_and(|error| error.kind() == ErrorKind::Timeout) {
            self.large.ask(&self.connections, &self.keys, keys);
        }
        reply
    }

    /// What stands under so many keys, which one command may name together.
    pub(super) async fn values<'k>(
        &self,
        count: usize,
        keys: impl Iterator<Item = &'k String> + Clone,
    ) -> Result<Vec<Value>, CacheError> {
        let bytes = keys.clone().map(|key| self.keys.name(key).len()).sum::<usize>();
        let mut cmd = Cmd::with_capacity(count + 1, bytes + MGET.len());
        cmd.arg(MGET);
        let mut call = READ;
        for key in keys.clone() {
            cmd.arg(self.keys.name(key));
            if self.large.has(key) {
                call = READ_LARGE;
            }
        }
        if self.connections.is_cluster() {
            // One command each: while their slot moves, some may be here and others there.
            let mut pipeline = Pipeline::with_capacity(count);
            for key in keys.clone() {
                pipeline.cmd(GET).arg(self.keys.name(key));
            }
            let replies = self.connections.pipeline(call, &pipeline).await;
            return self.if_late(replies, keys.map(String::as_str));
        }
        let reply = self.connections.reply(call, &cmd).await;
        match self.if_late(reply, keys.map(String::as_str))? {
            Value::Array(values) => Ok(values),
            refused => self.connections.convert(refused),
        }
    }

    /// The entries of `keys`, of which these are the values: none is waited for, but for plain JSON.
    pub(super) async fn entries(
        &self,
        keys: &[String],
        values: Vec<Value>,
        begun: Begun,
    ) -> Result<Vec<Option<Entry>>, CacheError> {
        let at = self.moment();
        let mut slots = Vec::with_capacity(keys.len());
        let mut found = Vec::new();
        for (key, value) in keys.iter().zip(values) {
            let entry = match self.read(key, value, at)? {
                Read::Nothing => None,
                Read::Entry(entry) => self.servable(entry),
                Read::Foreign(json) => {
                    found.push((slots.len(), json));
                    None
                }
            };
            slots.push(entry);
        }
        if !found.is_empty() {
            // Apart, as it is rare and large.
            Box::pin(self.foreign(keys, found, begun, &mut slots)).await?;
        }
        Ok(slots)
    }

    /// The entry that a reply to GET holds, if it may still be served.
    pub(super) async fn entry(
        &self,
        key: &str,
        reply: Value,
        at: Moment,
        begun: Begun,
    ) -> Result<Option<Entry>, CacheError> {
        Ok(match self.read(key, reply, at)? {
            Read::Nothing => None,
            Read::Entry(entry) => self.servable(entry),
            Read::Foreign(json) => {
                let mut slot = [None];
                Box::pin(self.foreign(&[key], vec![(0, json)], begun, &mut slot)).await?;
                let [entry] = slot;
                entry
            }
        })
    }

    pub(super) fn servable(&self, entry: Entry) -> Option<Entry> {
        self.clock.is_before(entry.servable_until()).then_some(entry)
    }
}
