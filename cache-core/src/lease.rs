//! The right to fill a key, which an invalidation takes away (Nishtala et al., "Scaling Memcache
//! at Facebook", NSDI 2013, section 3.2.1).

use std::time::Duration;

use crate::{Entry, Timestamp};

/// The right to fill one key once. A write or removal of the key revokes it, and it runs out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    key: String,
    id: u64,
    valid_until: Timestamp,
}

impl Lease {
    /// A lease as a store grants it; `id` is whatever tells that store its leases apart.
    #[must_use]
    pub fn new(key: impl Into<String>, id: u64, valid_until: Timestamp) -> Self {
        Self { key: key.into(), id, valid_until }
    }

    /// The key it is for.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// What the store gave it as identity.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// When it runs out.
    #[must_use]
    pub fn valid_until(&self) -> Timestamp {
        self.valid_until
    }
}

/// What a store answers when asked for a [`Lease`].
#[derive(Clone, Debug)]
pub enum LeaseOutcome {
    /// Load, then fill or abandon.
    Granted(Lease),
    /// Another loader is at work: look again after so long.
    Held {
        /// How long to wait before asking again, at most.
        retry_after: Duration,
    },
    /// Someone has filled it meanwhile.
    Fresh(Entry),
}
