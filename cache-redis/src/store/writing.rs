//! Writes.
//!
//! Rules:
//!
//! 1. A write whose call has ended is not done later: nothing that its caller does next is undone.
//!    So a write is a script that looks at the server's clock, and a call whose connection breaks
//!    ends with its budget. The calls of a write of many keys are all waited for.
//! 2. In a cluster it is a plain `SET`, and rule 1 does not hold for one that is late: see
//!    [`Connections::latest`](crate::connection::Connections).

use std::slice::from_ref;
use std::time::Duration;

use cache_core::{CacheError, Entry, ErrorKind, check_key};
use futures_util::future::join_all;
use redis::{Pipeline, ServerErrorKind, Value};
use tokio::time::Instant;

use super::{BULK_BYTES, CHUNK, RedisStore};
use crate::connection::{Call, Lane, Retry};
use crate::key::chunks;
use crate::script::{Put, Write};
use crate::wire::{Expiry, encode_entry};

/// Keys and bytes in one script: nobody else is served while it runs.
const TOGETHER: usize = 64;
const BYTES: usize = 256 * 1024;

impl RedisStore {
    pub(super) fn settle(&self, key: &str, entry: Entry) -> Result<Entry, CacheError> {
        let bytes = entry.bytes().map_or(0, <[u8]>::len);
        if bytes > self.max_value_bytes {
            let message =
                format!("the value has {bytes} bytes; at most {} are taken", self.max_value_bytes);
            return Err(CacheError::new(ErrorKind::TooLarge, message).with_key(key));
        }
        Ok(entry.settle(self.clock.now(), self.default_ttl))
    }

    /// What is to stand under the key: nothing, if the entry is over already.
    pub(super) fn put(&self, key: &str, entry: Entry) -> Result<Put, CacheError> {
        check_key(key)?;
        let entry = self.settle(key, entry)?;
        let expiry = Expiry::of(entry.servable_until(), self.clock.now());
        let record = match expiry {
            Expiry::Past => Vec::new(),
            _ => encode_entry(&entry, self.offset()),
        };
        Ok(Put { key: self.keys.key(key), record, expiry })
    }

    pub(super) async fn write(&self, put: &Put) -> Result<(), CacheError> {
        let call = how(put.len());
        // A removal that comes late undoes nothing that must stay.
        if self.connections.is_cluster() || put.expiry == Expiry::Past {
            return self.connections.query::<Value>(call, &put.whenever()).await.map(drop);
        }
        let write = self.in_time(from_ref(put), call);
        let reply = self.connections.evaluate(call, &write.by_hash(), || write.by_source()).await?;
        self.written(reply)
    }

    pub(super) async fn write_many(&self, entries: Vec<(String, Entry)>) -> Result<(), CacheError> {
        entries.iter().try_for_each(|(key, _)| check_key(key))?;
        let puts = entries.into_iter().map(|(key, entry)| self.put(&key, entry));
        let puts = puts.collect::<Result<Vec<_>, _>>()?;
        // All of them, whatever becomes of one: none is on its way when the call ends.
        let written = if self.connections.is_cluster() {
            let chunks = chunks(puts.len(), CHUNK, true, |at| &puts[at].key);
            let send =
                |chunk: Vec<usize>| self.write_in_slot(chunk.into_iter().map(|at| &puts[at]));
            join_all(chunks.into_iter().map(send)).await
        } else {
            join_all(puts.chunks(CHUNK).map(|puts| self.write_chunk(puts))).await
        };
        written.into_iter().collect()
    }

    /// In one pipeline, whose keys share a slot.
    fn write_in_slot<'a>(
        &'a self,
        puts: impl Iterator<Item = &'a Put>,
    ) -> impl Future<Output = Result<(), CacheError>> + 'a {
        let mut pipeline = Pipeline::new();
        for put in puts {
            pipeline.add_command(put.whenever());
        }
        async move {
            let replies = self.connections.pipeline(how(usize::MAX), &pipeline).await?;
            replies.into_iter().try_for_each(|reply| self.connections.convert(reply))
        }
    }

    /// In one pipeline, in order.
    async fn write_chunk(&self, puts: &[Put]) -> Result<(), CacheError> {
        let call = how(usize::MAX);
        let started = Instant::now();
        let Write { latest, .. } = self.in_time(puts, call);
        let writes: Vec<_> = pieces(puts).map(|puts| Write { puts, latest }).collect();
        let mut pipeline = Pipeline::with_capacity(writes.len());
        for write in &writes {
            pipeline.add_command(write.by_hash());
        }
        let mut replies = self.connections.pipeline(call, &pipeline).await?;
        // All from there on anew: a key that is named twice ends with what is named last.
        if let Some(first) = replies.iter().position(is_unknown_script) {
            let mut pipeline = Pipeline::with_capacity(writes.len() - first);
            pipeline.add_command(writes[first].by_source());
            for write in &writes[first + 1..] {
                pipeline.add_command(write.by_hash());
            }
            replies.truncate(first);
            let call = self.rest(call, started);
            replies.extend(self.connections.pipeline(call, &pipeline).await?);
        }
        replies.into_iter().try_for_each(|reply| self.written(reply))
    }

    pub(super) fn in_time<'a>(&self, puts: &'a [Put], call: Call) -> Write<'a> {
        Write { puts, latest: self.connections.latest(self.connections.budget(call)) }
    }

    /// What a script that writes has answered.
    pub(super) fn written(&self, reply: Value) -> Result<(), CacheError> {
        match self.connections.convert::<u8>(reply)? {
            0 => Err(self.connections.came_late()),
            _ => Ok(()),
        }
    }

    /// The call, for what is left of its budget since it was begun.
    pub(super) fn rest(&self, call: Call, started: Instant) -> Call {
        call.budget(self.left(call, started))
    }

    pub(super) fn left(&self, call: Call, started: Instant) -> Duration {
        self.connections.budget(call).saturating_sub(started.elapsed())
    }
}

/// How so many bytes are written.
pub(super) fn how(bytes: usize) -> Call {
    let lane = if bytes > BULK_BYTES { Lane::Bulk } else { Lane::Small };
    Call::new(lane).retry(Retry::Once).to_the_end()
}

/// The server does not know the script: it has done nothing.
pub(super) fn is_unknown_script(reply: &Value) -> bool {
    matches!(reply, Value::ServerError(error) if error.kind() == Some(ServerErrorKind::NoScript))
}

/// What goes together into a script.
fn pieces(mut puts: &[Put]) -> impl Iterator<Item = &[Put]> {
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |put: &&Put| {
            bytes += put.len();
            bytes <= BYTES
        };
        let count = puts.iter().take(TOGETHER).take_while(fits).count().max(1).min(puts.len());
        let (piece, rest) = puts.split_at(count);
        puts = rest;
        (!piece.is_empty()).then_some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_has_few_keys_or_few_bytes() {
        let put = |bytes| Put { key: "k".into(), record: vec![0; bytes], expiry: Expiry::Never };
        let sizes = |puts: &[Put]| pieces(puts).map(<[Put]>::len).collect::<Vec<_>>();
        assert_eq!(sizes(&[]), [0; 0]);
        assert_eq!(sizes(&vec![put(10); 130]), [64, 64, 2]);
        assert_eq!(sizes(&[put(BYTES), put(BYTES / 4), put(BYTES / 4), put(BYTES)]), [1, 2, 1]);
    }
}
