//! Which keys there are: 1 to 1,024 bytes of UTF-8, for cache entries and locks alike.

use crate::CacheError;

/// The longest key, in bytes.
pub const MAX_KEY_BYTES: usize = 1024;

#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyFault {
    #[error("the key is empty; a key has 1 to {MAX_KEY_BYTES} bytes")]
    Empty,
    #[error("the key {excerpt:?}… has {bytes} bytes; a key has 1 to {MAX_KEY_BYTES}")]
    TooLong { excerpt: String, bytes: usize },
}

/// What is wrong with `key`, if anything.
pub(crate) fn fault(key: &str) -> Option<KeyFault> {
    match key.len() {
        0 => Some(KeyFault::Empty),
        1..=MAX_KEY_BYTES => None,
        bytes => Some(KeyFault::TooLong { excerpt: key.chars().take(32).collect(), bytes }),
    }
}

/// Checks that `key` may be used: 1 to [`MAX_KEY_BYTES`] bytes. Backends that are used without
/// [`ReadThrough`](crate::ReadThrough) call it before any I/O.
///
/// # Errors
///
/// [`ErrorKind::InvalidKey`](crate::ErrorKind::InvalidKey), saying which and what would be right.
///
/// ```
/// use cache_core::{check_key, ErrorKind};
///
/// assert!(check_key("org:acme").is_ok());
/// assert_eq!(check_key("").unwrap_err().kind(), ErrorKind::InvalidKey);
/// assert_eq!(check_key(&"x".repeat(1025)).unwrap_err().kind(), ErrorKind::InvalidKey);
/// ```
pub fn check_key(key: &str) -> Result<(), CacheError> {
    fault(key).map_or(Ok(()), |fault| Err(CacheError::invalid_key(&fault)))
}
