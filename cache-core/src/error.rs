//! What can go wrong with a cache: one opaque error with a kind.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::sync::Arc;

use crate::key::KeyFault;

/// What kind of failure a [`CacheError`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A value does not encode, or the bytes found do not decode as the type asked for.
    Serialization,
    /// The backend answered with an error.
    Backend,
    /// The backend cannot be reached.
    Unavailable,
    /// The operation or the loader took longer than it may.
    Timeout,
    /// The encoded value is larger than the backend takes.
    TooLarge,
    /// The key is empty or longer than 1,024 bytes.
    InvalidKey,
    /// The loader failed or panicked, or asked for the key it is loading.
    Load,
    /// A setting is missing or wrong.
    Config,
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Serialization => "serialization",
            Self::Backend => "backend error",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::TooLarge => "value too large",
            Self::InvalidKey => "invalid key",
            Self::Load => "load failed",
            Self::Config => "configuration",
        })
    }
}

/// Why a cache operation failed.
///
/// Cheap to clone: all callers that waited for one load get the same error. `Display` says what
/// happened and to which key, and leaves the [`source`](Error::source) to whoever prints the chain.
///
/// ```
/// use cache_core::{CacheError, ErrorKind};
///
/// let error = CacheError::new(ErrorKind::Unavailable, "no connection to 10.0.0.5:6379").with_key("org:acme");
/// assert_eq!(error.to_string(), "unavailable: no connection to 10.0.0.5:6379 (key \"org:acme\")");
/// assert!(error.is_retryable());
/// ```
#[derive(Clone)]
pub struct CacheError(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    message: String,
    key: Option<String>,
    retryable: bool,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

impl CacheError {
    /// An error of this kind. [`Unavailable`](ErrorKind::Unavailable) and
    /// [`Timeout`](ErrorKind::Timeout) start out retryable, the others not.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Arc::new(Inner {
            kind,
            message: message.into(),
            key: None,
            retryable: matches!(kind, ErrorKind::Unavailable | ErrorKind::Timeout),
            source: None,
        }))
    }

    /// What a user's loader returned, kept for [`loader_error`](Self::loader_error).
    #[must_use]
    pub fn load(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(ErrorKind::Load, "the loader returned an error").with_source(source)
    }

    pub(crate) fn invalid_key(fault: &KeyFault) -> Self {
        Self::new(ErrorKind::InvalidKey, fault.to_string())
    }

    pub(crate) fn panicked(payload: &(dyn Any + Send)) -> Self {
        Self::new(ErrorKind::Load, format!("the loader panicked: {}", panic_message(payload)))
    }

    /// A load that ended in a panic outside its loader.
    pub(crate) fn backend_panicked(payload: &(dyn Any + Send)) -> Self {
        let message = format!("the load panicked beside its loader: {}", panic_message(payload));
        Self::new(ErrorKind::Load, message).with_retryable(true)
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

    /// Says in front of what happened where that was, such as the setting that led there.
    ///
    /// ```
    /// use cache_core::{CacheError, ErrorKind};
    ///
    /// let error = CacheError::new(ErrorKind::Config, "no port").with_context("REDIS_URL");
    /// assert_eq!(error.to_string(), "configuration: REDIS_URL: no port");
    /// ```
    #[must_use]
    pub fn with_context(mut self, context: impl fmt::Display) -> Self {
        let inner = Arc::make_mut(&mut self.0);
        inner.message = format!("{context}: {}", inner.message);
        self
    }

    /// Says whether the same call may succeed later.
    #[must_use]
    pub fn with_retryable(mut self, retryable: bool) -> Self {
        Arc::make_mut(&mut self.0).retryable = retryable;
        self
    }

    /// What kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether the same call may succeed later without anything being changed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.0.retryable
    }

    /// The key it happened to, where it is about one.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        self.0.key.as_deref()
    }

    /// What the user's own loader returned, if that is what failed and its type is `E`.
    ///
    /// ```
    /// use cache_core::CacheError;
    ///
    /// let error = CacheError::load(std::fmt::Error);
    /// assert!(error.loader_error::<std::fmt::Error>().is_some());
    /// assert!(error.loader_error::<std::io::Error>().is_none());
    /// ```
    #[must_use]
    pub fn loader_error<E: Error + 'static>(&self) -> Option<&E> {
        if self.0.kind != ErrorKind::Load {
            return None;
        }
        self.source()?.downcast_ref::<E>()
    }
}

impl fmt::Display for CacheError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.kind, self.0.message)?;
        match &self.0.key {
            Some(key) => write!(f, " (key {key:?})"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for CacheError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheError")
            .field("kind", &self.0.kind)
            .field("message", &self.0.message)
            .field("key", &self.0.key)
            .field("retryable", &self.0.retryable)
            .field("source", &self.0.source)
            .finish()
    }
}

impl Error for CacheError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}

/// An error with its causes, which [`Display`](fmt::Display) leaves out: for logs, and for people who see
/// nothing else of it.
///
/// ```
/// use cache_core::{CacheError, ErrorKind, in_words};
///
/// let error = CacheError::new(ErrorKind::Backend, "the answer is cut off").with_source("end of file");
/// assert_eq!(in_words(&error), "backend error: the answer is cut off: end of file");
/// ```
#[must_use]
pub fn in_words(error: &(impl Error + ?Sized)) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        words.push_str(": ");
        words.push_str(&cause.to_string());
        source = cause.source();
    }
    words
}

/// What a panic said.
pub(crate) fn panic_message(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}
