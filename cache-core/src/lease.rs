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
    tiers: Option<Box<[Option<Lease>; 2]>>,
}

impl Lease {
    /// A lease as a store grants it; `id` is whatever tells that store its leases apart.
    #[must_use]
    pub fn new(key: impl Into<String>, id: u64, valid_until: Timestamp) -> Self {
        Self { key: key.into(), id, valid_until, tiers: None }
    }

    /// The lease of a store made of two tiers: what each of them granted, `None` for one that
    /// takes no part. It lasts as long as the shorter of them.
    #[must_use]
    pub fn of_tiers(key: impl Into<String>, near: Option<Lease>, far: Option<Lease>) -> Self {
        let ends = [&near, &far].into_iter().flatten().map(Lease::valid_until);
        let valid_until = ends.min().unwrap_or(Timestamp::ZERO);
        Self { key: key.into(), id: 0, valid_until, tiers: Some(Box::new([near, far])) }
    }

    /// The leases of the near and the far tier. One that a single store granted is the far one.
    #[must_use]
    pub fn into_tiers(mut self) -> (Option<Lease>, Option<Lease>) {
        match self.tiers.take() {
            Some(tiers) => {
                let [near, far] = *tiers;
                (near, far)
            }
            None => (None, Some(self)),
        }
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
