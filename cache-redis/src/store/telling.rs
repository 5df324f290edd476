//! Writes and removals that are told to the other nodes.
//!
//! Rules:
//!
//! 1. What is told has been done: the commands go in this order over one connection, or the second
//!    is sent when the first has been answered.
//! 2. Over the store's own bus it is one round trip, as long as the change is one: what a scan
//!    removes, and what lives on several nodes of a cluster, is told afterwards.

use cache_core::{CacheError, Entry, InvalidationBus, Selector};
use redis::{Cmd, Pipeline, Value};

use super::removal::unlink;
use super::{CHUNK, READ, RedisStore};
use crate::bus::RedisBus;
use crate::connection::Call;

impl RedisStore {
    /// The bus, if what it says can travel with what this store does.
    pub(super) fn own<'a>(&self, bus: &'a dyn InvalidationBus) -> Option<&'a RedisBus> {
        let bus = bus.as_any()?.downcast_ref::<RedisBus>()?;
        let together = !self.connections.is_cluster() && self.connections.same(bus.connections());
        together.then_some(bus)
    }

    pub(super) async fn tell_after<T>(
        &self,
        change: impl Future<Output = Result<T, CacheError>>,
        what: &Selector,
        bus: &dyn InvalidationBus,
    ) -> Result<T, CacheError> {
        let done = change.await?;
        bus.publish(what).await?;
        Ok(done)
    }

    pub(super) async fn take_away_and_tell(
        &self,
        what: &Selector,
        bus: &RedisBus,
    ) -> Result<Option<u64>, CacheError> {
        let Selector::Keys(keys) = what else {
            return self.tell_after(self.take_away(what), what, bus).await;
        };
        let changes = self.names(keys)?.chunks(CHUNK).map(unlink).collect();
        // Unlinking again is harmless.
        self.together(READ, changes, what, bus).await?;
        Ok(None)
    }

    pub(super) async fn put_and_tell(
        &self,
        key: &str,
        entry: Entry,
        what: &Selector,
        bus: &RedisBus,
    ) -> Result<(), CacheError> {
        let (cmd, call) = self.put(key, entry)?;
        self.together(call, vec![cmd], what, bus).await
    }

    /// The changes and what is said of them, in one pipeline.
    async fn together(
        &self,
        call: Call,
        changes: Vec<Cmd>,
        what: &Selector,
        bus: &RedisBus,
    ) -> Result<(), CacheError> {
        let announcements = bus.announcements(what)?;
        let messages = announcements.len();
        let mut pipeline = Pipeline::with_capacity(changes.len() + messages);
        for cmd in changes.into_iter().chain(announcements) {
            pipeline.add_command(cmd);
        }
        let replies = self.connections.pipeline(call, &pipeline).await?;
        replies
            .into_iter()
            .try_for_each(|reply| self.connections.convert::<Value>(reply).map(drop))?;
        bus.count_published(messages);
        Ok(())
    }
}
