//! What can go wrong with a lock: one opaque error with a kind.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use crate::key::fault;

/// What kind of failure a [`LockError`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LockErrorKind {
    /// Another holder had the lock for all of [`wait`](crate::LockOptions::wait).
    Timeout,
    /// The lease is over: it ran out, was taken away, or the lock has been released.
    LeaseLost,
    /// The lock was held for all of [`max_hold`](crate::LockOptions::max_hold).
    MaxHoldExceeded,
    /// The backend cannot be reached, or was shut down.
    Unavailable,
    /// The key is empty or longer than 1,024 bytes.
    InvalidKey,
    /// A setting is wrong.
    Config,
    /// The caller runs inside a `with_lock` on this very key, so waiting could only end when the
    /// wait does. A kind of its own: a [`Timeout`](Self::Timeout) is worth another try and this
    /// never is, it is a mistake in the program.
    Deadlock,
}

impl fmt::Display for LockErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Timeout => "timeout",
            Self::LeaseLost => "lease lost",
            Self::MaxHoldExceeded => "held too long",
            Self::Unavailable => "unavailable",
            Self::InvalidKey => "invalid key",
            Self::Config => "configuration",
            Self::Deadlock => "deadlock",
        })
    }
}

/// Why a lock operation failed.
///
/// Cheap to clone. `Display` says what happened and to which key, and leaves the
/// [`source`](Error::source) to whoever prints the chain.
///
/// ```
/// use cache_core::{LockError, LockErrorKind};
///
/// let error = LockError::new(LockErrorKind::Timeout, "held by another for 10 s").with_key("user:7");
/// assert_eq!(error.to_string(), "timeout: held by another for 10 s (key \"user:7\")");
/// assert!(error.is_retryable());
/// ```
#[derive(Clone)]
pub struct LockError(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    kind: LockErrorKind,
    message: String,
    key: Option<String>,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

impl LockError {
    /// An error of this kind.
    #[must_use]
    pub fn new(kind: LockErrorKind, message: impl Into<String>) -> Self {
        Self(Arc::new(Inner { kind, message: message.into(), key: None, source: None }))
    }

    /// Names the key it happened to, unless one is named already.
    #[must_use]
    pub fn with_key(mut self, key: &str) -> Self {
        if self.0.key.is_none() {
            Arc::make_mut(&mut self.0).key = Some(key.to_owned());
        }
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Arc::make_mut(&mut self.0).source = Some(Arc::from(source.into()));
        self
    }

    /// What kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> LockErrorKind {
        self.0.kind
    }

    /// Whether the same call may succeed later without anything being changed:
    /// [`Timeout`](LockErrorKind::Timeout) and [`Unavailable`](LockErrorKind::Unavailable).
    ///
    /// A lost lease is not: part of the section may have run.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self.0.kind, LockErrorKind::Timeout | LockErrorKind::Unavailable)
    }

    /// The key it happened to, where it is about one.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        self.0.key.as_deref()
    }
}

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.kind, self.0.message)?;
        match &self.0.key {
            Some(key) => write!(f, " (key {key:?})"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockError")
            .field("kind", &self.0.kind)
            .field("message", &self.0.message)
            .field("key", &self.0.key)
            .field("source", &self.0.source)
            .finish()
    }
}

impl Error for LockError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}

/// Checks that `key` may name a lock: 1 to [`MAX_KEY_BYTES`](crate::MAX_KEY_BYTES) bytes, as
/// for cache entries. Backends call it before any I/O.
///
/// # Errors
///
/// [`LockErrorKind::InvalidKey`], saying what would be right.
///
/// ```
/// use cache_core::{check_lock_key, LockErrorKind};
///
/// assert!(check_lock_key("user:7").is_ok());
/// assert_eq!(check_lock_key("").unwrap_err().kind(), LockErrorKind::InvalidKey);
/// ```
pub fn check_lock_key(key: &str) -> Result<(), LockError> {
    fault(key)
        .map_or(Ok(()), |fault| Err(LockError::new(LockErrorKind::InvalidKey, fault.to_string())))
}
