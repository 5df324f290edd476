//! Writes and removals that are told to the other nodes.
//!
//! Rules:
//!
//! 1. What is told has been done: the commands go in this order over one connection, or the second
//!    is sent when the first has been answered.
//! 2. Over the store's own bus it is one round trip, as long as the change is one: what a scan
//!    removes, and what lives on several nodes of a cluster, is told afterwards.

use std::slice::from_ref;

use cache_core::{CacheError, Entry, InvalidationBus, Selector};
use redis::{Cmd, Pipeline, Value};
use tokio::time::Instant;

use super::removal::unlink;
use super::writing::{how, is_unknown_script};
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
        let announcements = bus.announcements(what)?;
        let names = self.names(keys)?;
        // Unlinking again is harmless.
        let changes = names.chunks(CHUNK).map(unlink);
        let replies = self.together(READ, changes, &announcements).await?;
        self.all_done(replies)?;
        announcements.told();
        Ok(None)
    }

    pub(super) async fn put_and_tell(
        &self,
        key: &str,
        entry: Entry,
        what: &Selector,
        bus: &RedisBus,
    ) -> Result<(), CacheError> {
        let put = self.put(key, entry)?;
        let mut announcements = bus.announcements(what)?;
        let (call, started) = (how(put.len()), Instant::now());
        let write = self.in_time(from_ref(&put), call);
        let mut replies = self.together(call, [write.by_hash()], &announcements).await?;
        if replies.first().is_some_and(is_unknown_script) {
            // They have been told too early, and are told again: under another number, as whoever has heard
            // the first would not miss this one.
            announcements = bus.announcements(what)?;
            let call = self.rest(call, started);
            replies = self.together(call, [write.by_source()], &announcements).await?;
        }
        let told = replies.split_off(replies.len().min(1));
        replies.into_iter().try_for_each(|reply| self.written(reply))?;
        self.all_done(told)?;
        announcements.told();
        Ok(())
    }

    /// The changes and what is said of them, in one pipeline: their replies.
    async fn together(
        &self,
        call: Call,
        changes: impl IntoIterator<Item = Cmd>,
        announcements: &[Cmd],
    ) -> Result<Vec<Value>, CacheError> {
        let mut pipeline = Pipeline::new();
        for cmd in changes.into_iter().chain(announcements.iter().cloned()) {
            pipeline.add_command(cmd);
        }
        self.connections.pipeline(call, &pipeline).await
    }

    fn all_done(&self, replies: Vec<Value>) -> Result<(), CacheError> {
        replies.into_iter().try_for_each(|reply| self.connections.convert::<Value>(reply).map(drop))
    }
}
