//! What was asked of a cache.

use std::time::Duration;

use cache_core::Selector;

/// One call of a method of [`CacheStore`](cache_core::CacheStore) or
/// [`CacheService`](cache_core::CacheService).
///
/// ```
/// use cache_testkit::Operation;
///
/// let fetch = Operation::Fetch { key: "org:acme".into() };
/// assert!(fetch.concerns("org:acme") && fetch.is_read() && !fetch.is_write());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs, reason = "a variant is the method of that name, a field its argument")]
pub enum Operation {
    Fetch { key: String },
    FetchMany { keys: Vec<String> },
    Store { key: String },
    StoreMany { keys: Vec<String> },
    Remove { what: Selector },
    Lease { key: String, ttl: Duration },
    Fill { key: String },
    Abandon { key: String },
    Load { key: String },
    LoadMany { keys: Vec<String> },
}

impl Operation {
    /// Whether it is about `key`, be it among others.
    #[must_use]
    pub fn concerns(&self, key: &str) -> bool {
        match self {
            Self::Fetch { key: own }
            | Self::Store { key: own }
            | Self::Lease { key: own, .. }
            | Self::Fill { key: own }
            | Self::Abandon { key: own }
            | Self::Load { key: own } => own == key,
            Self::FetchMany { keys } | Self::StoreMany { keys } | Self::LoadMany { keys } => {
                keys.iter().any(|own| own == key)
            }
            Self::Remove { what } => what.matches(key),
        }
    }

    /// Whether it only looks: a fetch.
    #[must_use]
    pub fn is_read(&self) -> bool {
        matches!(self, Self::Fetch { .. } | Self::FetchMany { .. })
    }

    /// Whether it changes entries: a store, a fill or a removal.
    #[must_use]
    pub fn is_write(&self) -> bool {
        matches!(
            self,
            Self::Store { .. } | Self::StoreMany { .. } | Self::Fill { .. } | Self::Remove { .. }
        )
    }

    /// Whether it is a removal.
    #[must_use]
    pub fn is_remove(&self) -> bool {
        matches!(self, Self::Remove { .. })
    }

    /// Whether it asks for a lease.
    #[must_use]
    pub fn is_lease(&self) -> bool {
        matches!(self, Self::Lease { .. })
    }

    /// Whether it fills under a lease.
    #[must_use]
    pub fn is_fill(&self) -> bool {
        matches!(self, Self::Fill { .. })
    }
}
