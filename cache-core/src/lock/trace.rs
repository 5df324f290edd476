//! The spans of locks: `lock.acquire` while a caller waits, `lock.hold` while it holds. Both are
//! children of the caller's span: the wait is over when the hold begins.

use std::future::Future;

use tracing::field::{Empty, debug};
use tracing::{Instrument, Span, info_span};

use super::error::LockError;
use super::guard::LockGuard;
use crate::TracedKeys;

/// Runs a backend's [`acquire`](crate::ConcurrencyService::acquire) in a span `lock.acquire`, and
/// gives the guard a span `lock.hold`, which closes when the lock is given back. A section of
/// `with_lock` runs inside that. For whoever implements the trait.
///
/// ```
/// use cache_core::{LockError, LockErrorKind, TracedKeys, trace_acquire};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let asking = async { Err(LockError::new(LockErrorKind::Timeout, "held by another")) };
/// assert!(trace_acquire(TracedKeys::Hashed, "user:7", asking).await.is_err());
/// # }
/// ```
pub fn trace_acquire(
    keys: TracedKeys,
    key: &str,
    acquiring: impl Future<Output = Result<LockGuard, LockError>> + Send,
) -> impl Future<Output = Result<LockGuard, LockError>> + Send {
    let (caller, span) = (Span::current(), acquire_span(keys, key));
    async move {
        let acquired = acquiring.instrument(span.clone()).await;
        record(&span, acquired.as_ref().map(|_| "acquired"));
        // Closed before the hold begins.
        drop(span);
        acquired.map(|guard| held(keys, &caller, guard))
    }
}

/// As [`trace_acquire`], for [`try_acquire`](crate::ConcurrencyService::try_acquire).
///
/// ```
/// use cache_core::{TracedKeys, trace_try_acquire};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let trying = async { Ok(None) };
/// assert!(trace_try_acquire(TracedKeys::Hashed, "user:7", trying).await.unwrap().is_none());
/// # }
/// ```
pub fn trace_try_acquire(
    keys: TracedKeys,
    key: &str,
    trying: impl Future<Output = Result<Option<LockGuard>, LockError>> + Send,
) -> impl Future<Output = Result<Option<LockGuard>, LockError>> + Send {
    let (caller, span) = (Span::current(), acquire_span(keys, key));
    async move {
        let tried = trying.instrument(span.clone()).await;
        let result = |guard: &Option<_>| if guard.is_some() { "acquired" } else { "held" };
        record(&span, tried.as_ref().map(result));
        drop(span);
        tried.map(|guard| guard.map(|guard| held(keys, &caller, guard)))
    }
}

fn acquire_span(keys: TracedKeys, key: &str) -> Span {
    info_span!("lock.acquire", key = %keys.show(key), result = Empty, error = Empty)
}

fn record(span: &Span, result: Result<&'static str, &LockError>) {
    match result {
        Ok(result) => span.record("result", result),
        Err(error) => span.record("result", "failed").record("error", debug(error.kind())),
    };
}

fn held(keys: TracedKeys, caller: &Span, guard: LockGuard) -> LockGuard {
    let fence = guard.fencing_token().0;
    let span = {
        let key = keys.show(guard.key());
        info_span!(parent: caller, "lock.hold", %key, fence, lost = Empty)
    };
    guard.in_span(span)
}
