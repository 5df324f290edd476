//! What can be wrong with a setting, and how it is said.

use std::fmt;

use cache_core::{CacheError, ErrorKind};

/// How much of a wrong value is shown.
const EXCERPT: usize = 64;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("{setting} is {value:?}; it must be {wanted}")]
    Value { setting: &'static str, value: String, wanted: &'static str },
    #[error("{variable} is not valid UTF-8; it must be {wanted}")]
    NotUtf8 { variable: &'static str, wanted: &'static str },
    #[error(
        "max_weight_bytes (CACHE_MAX_WEIGHT_BYTES) is set, but the moka backend (CACHE_MEMORY) has \
         no bound in bytes; use quick, or bound the entries by max_capacity (CACHE_MAX_CAPACITY)"
    )]
    MokaHasNoWeights,
}

impl Fault {
    pub(crate) fn value(
        setting: &'static str,
        value: impl fmt::Display,
        wanted: &'static str,
    ) -> Self {
        let value = value.to_string();
        let excerpt: String = value.chars().take(EXCERPT).collect();
        let value = if excerpt.len() < value.len() { excerpt + "…" } else { value };
        Self::Value { setting, value, wanted }
    }
}

impl From<Fault> for CacheError {
    fn from(fault: Fault) -> Self {
        // The fault is the whole story: as a source it would only say it twice.
        Self::new(ErrorKind::Config, fault.to_string())
    }
}

/// Everything that is wrong with a configuration; at least one fault.
#[derive(Debug)]
pub(crate) struct Faults(pub(crate) Vec<Fault>);

impl From<Faults> for CacheError {
    fn from(Faults(faults): Faults) -> Self {
        let faults: Vec<String> = faults.iter().map(Fault::to_string).collect();
        Self::new(ErrorKind::Config, faults.join("; "))
    }
}
