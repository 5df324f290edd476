//! Plain JSON that someone else wrote: it lives as long as its key, so that is asked, too.

use std::time::Duration;

use cache_core::{CacheError, Clock, Entry, Timestamp};
use futures_util::future::try_join_all;
use redis::Pipeline;

use super::{CHUNK, READ, RedisStore};
use crate::key::chunks;
use crate::wire::foreign_entry;

/// When a read began: what it asks later has what is left of its budget.
#[derive(Clone, Copy)]
pub(super) struct Begun(Timestamp);

impl Begun {
    /// Some milliseconds ago at most, by the cheap clock.
    pub(super) fn now() -> Self {
        Self(Clock::system().coarse_now())
    }

    fn elapsed(self) -> Duration {
        self.0.until(Clock::system().now())
    }
}

/// JSON that stands under the key of this position.
pub(super) type Found = (usize, Vec<u8>);

impl RedisStore {
    /// Plain JSON as an entry. A process may hold it for the default TTL at most: nobody tells when
    /// someone else writes the key.
    pub(super) fn foreign_entry(&self, json: &[u8], ttl: Option<Duration>) -> Entry {
        let now = self.clock.now();
        foreign_entry(json, ttl, now).with_local_ttl(now, self.default_ttl)
    }

    /// Puts the entries that were found into their slots, but for those whose key is gone.
    pub(super) async fn foreign<K: AsRef<str> + Sync>(
        &self,
        keys: &[K],
        found: Vec<Found>,
        begun: Begun,
        slots: &mut [Option<Entry>],
    ) -> Result<(), CacheError> {
        let budget = self.connections.budget(READ).saturating_sub(begun.elapsed());
        let name = |at: usize| self.keys.key(keys[found[at].0].as_ref());
        let chunks = chunks(found.len(), CHUNK, self.connections.is_cluster(), name);
        let ask = |chunk: &Vec<usize>| {
            let mut pipeline = Pipeline::with_capacity(chunk.len());
            for at in chunk {
                pipeline.cmd("PTTL").arg(self.keys.name(keys[found[*at].0].as_ref()));
            }
            async move { self.connections.pipeline(READ.budget(budget), &pipeline).await }
        };
        let replies = try_join_all(chunks.iter().map(ask)).await?;
        for (at, reply) in chunks.iter().flatten().zip(replies.into_iter().flatten()) {
            let (slot, json) = &found[*at];
            slots[*slot] = match self.connections.convert::<i64>(reply)? {
                -1 => self.servable(self.foreign_entry(json, None)),
                gone if gone < 0 => None,
                millis => {
                    let ttl = Duration::from_millis(millis.unsigned_abs());
                    self.servable(self.foreign_entry(json, Some(ttl)))
                }
            };
        }
        Ok(())
    }
}
