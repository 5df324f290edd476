//! Asking for leases, and telling those who wait for one.

use std::sync::atomic::Ordering;
use std::time::Duration;

use cache_core::{CacheError, Lease, LeaseOutcome, check_key};
use tokio::time::Instant;

use super::RedisStore;
use crate::connection::{Call, Lane};
use crate::random::random;
use crate::script::{self, LeaseReply, Notice, Purpose};
use crate::wire::{Decoded, decode, encode_entry};

/// How soon to look again while another node holds the lease, by a timer alone.
const RETRY_AFTER: Duration = Duration::from_millis(25);
/// The same where the bus tells when it is time: the timer is for what the bus loses.
const RETRY_ANYWAY: Duration = Duration::from_millis(250);

const SCRIPT: Call = Call::new(Lane::Small);

struct Asked {
    id: u64,
    reply: LeaseReply,
}

impl RedisStore {
    async fn ask(
        &self,
        key: &str,
        ttl: Duration,
        purpose: Purpose<'_>,
        started: Instant,
    ) -> Result<Asked, CacheError> {
        let id = random();
        let waits = self.tell.is_some();
        let left = self.left(SCRIPT, started);
        let (until, latest) = (Instant::now() + left, self.connections.latest(left));
        let call = script::Call::Lease { key, id, ttl, purpose, waits, latest };
        // Rule 2: dropped or failed on the way, the lease is given back.
        let unsettled = self.giving_back.unless_settled(key, id).asked_for(until);
        let reply = self
            .connections
            .evaluate(SCRIPT.budget(left), &call.by_hash(), || call.by_source())
            .await;
        let reply: LeaseReply = self.connections.convert(reply?)?;
        unsettled.settled();
        match reply {
            LeaseReply::Late => Err(self.connections.came_late()),
            reply => Ok(Asked { id, reply }),
        }
    }

    /// What is said of the key to those who wait, if this store says anything.
    pub(super) fn message(&self, name: &str) -> Option<String> {
        self.tell.as_ref().map(|tell| tell.message(name))
    }

    pub(super) fn notice<'a>(&'a self, message: Option<&'a str>) -> Option<Notice<'a>> {
        self.tell.as_ref().zip(message).map(|(tell, message)| tell.notice(message))
    }

    pub(super) async fn take_lease(
        &self,
        key: &str,
        ttl: Duration,
        purpose: Purpose<'_>,
    ) -> Result<LeaseOutcome, CacheError> {
        check_key(key)?;
        let (name, now, started) = (self.keys.key(key), self.clock.now(), Instant::now());
        let mut asked = self.ask(&name, ttl, purpose, started).await?;
        if let LeaseReply::Present { bytes, ttl: key_ttl } = &asked.reply {
            match decode(bytes) {
                Decoded::Value(value) => {
                    return Ok(LeaseOutcome::Fresh(value.to_entry(self.offset(), now)));
                }
                Decoded::Foreign(json) => {
                    let entry = self.foreign_entry(json, *key_ttl);
                    if !matches!(purpose, Purpose::Refresh) {
                        return Ok(LeaseOutcome::Fresh(entry));
                    }
                    // It stays readable, as a record that has room for the lease.
                    let record = encode_entry(&entry, self.offset());
                    asked = self.ask(&name, ttl, Purpose::Adopt(&record), started).await?;
                }
                // Garbage makes room for the lease, if it stands there still.
                Decoded::LeaseOnly(_) | Decoded::Unknown(_) => {
                    self.unreadable.fetch_add(1, Ordering::Relaxed);
                    let found = bytes.clone();
                    asked = self.ask(&name, ttl, Purpose::Repair(&found), started).await?;
                }
            }
        }
        Ok(match asked.reply {
            LeaseReply::Granted => LeaseOutcome::Granted(Lease::new(key, asked.id, now + ttl)),
            LeaseReply::Held(left) => {
                let soon = if self.tell.is_some() { RETRY_ANYWAY } else { RETRY_AFTER };
                LeaseOutcome::Held { retry_after: left.min(soon) }
            }
            // It has changed again in between.
            LeaseReply::Present { .. } | LeaseReply::Late => {
                LeaseOutcome::Held { retry_after: Duration::ZERO }
            }
        })
    }
}
