//! What a removal takes away.

use serde::{Deserialize, Serialize};

/// Which entries a removal selects.
///
/// ```
/// use cache_core::Selector;
///
/// assert!(Selector::Prefix("org:".into()).matches("org:acme"));
/// assert!(!Selector::key("org:acme").matches("org:acme:users"));
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Selector {
    /// These keys. None of them is no entry; one that is named twice counts once.
    Keys(Vec<String>),
    /// Every key that begins with these bytes; the empty prefix is every key.
    Prefix(String),
    /// Every key.
    All,
}

impl Selector {
    /// One key.
    #[must_use]
    pub fn key(key: impl Into<String>) -> Self {
        Self::Keys(vec![key.into()])
    }

    /// Whether it selects `key`.
    #[must_use]
    pub fn matches(&self, key: &str) -> bool {
        match self {
            Self::Keys(keys) => keys.iter().any(|selected| selected == key),
            Self::Prefix(prefix) => key.starts_with(prefix.as_str()),
            Self::All => true,
        }
    }
}
