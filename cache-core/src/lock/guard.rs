//! What a holder has in hand: [`LockGuard`], which releases, and [`HeldLock`], which only asks.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use smol_str::SmolStr;

use super::error::LockError;
use super::info::FencingToken;
use super::lease::LockLease;

/// How a backend takes a lock back. A [`LockGuard`] calls it once.
///
/// One object may serve all locks of a service: the lease says which lock it is about.
pub trait LockRelease: Send + Sync {
    /// Begins the release of `lease`'s lock, and says how it went or will have gone.
    ///
    /// *Behaviour*: called from `Drop` too, so it never blocks, never panics and needs no runtime.
    /// A release that has begun goes on whether the future is polled, dropped or neither. A lock
    /// that has passed to another holder is left alone.
    ///
    /// *Errors* to give: [`LeaseLost`](crate::LockErrorKind::LeaseLost) if the lock was no longer
    /// this holder's, [`Unavailable`](crate::LockErrorKind::Unavailable) if the backend could not
    /// be told.
    fn release(&self, lease: &LockLease) -> LockReleasing;
}

/// How a release went: known already, or known later.
pub enum LockReleasing {
    /// It is over.
    Done(Result<(), LockError>),
    /// It is under way; the future tells the outcome and does nothing else.
    Pending(Pin<Box<dyn Future<Output = Result<(), LockError>> + Send>>),
}

impl LockReleasing {
    /// How it went.
    pub(super) async fn outcome(self) -> Result<(), LockError> {
        match self {
            Self::Done(outcome) => outcome,
            Self::Pending(outcome) => outcome.await,
        }
    }
}

impl fmt::Debug for LockReleasing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done(outcome) => f.debug_tuple("Done").field(outcome).finish(),
            Self::Pending(_) => f.write_str("Pending"),
        }
    }
}

/// A lock that is held. Dropping it releases the lock in the background; [`release`](Self::release)
/// waits for that and reports how it went.
///
/// ```
/// use cache_core::{
///     Clock, FencingToken, LockGuard, LockLease, LockRelease, LockReleasing, Timestamp,
/// };
/// use std::sync::Arc;
///
/// struct Backend;
///
/// impl LockRelease for Backend {
///     fn release(&self, lease: &LockLease) -> LockReleasing {
///         assert_eq!(lease.key(), "user:7");
///         LockReleasing::Done(Ok(()))
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let (clock, end) = (Clock::system(), Timestamp::MAX);
/// let lease = LockLease::new("user:7".into(), FencingToken(1), &clock, end, end);
/// let guard = LockGuard::new(lease, Arc::new(Backend));
/// assert!(guard.check().is_ok());
/// let held = guard.held();
/// guard.release().await.unwrap();
/// assert!(held.check().is_err(), "released");
/// # }
/// ```
#[must_use = "dropping the guard releases the lock"]
pub struct LockGuard {
    held: HeldLock,
    /// `None` once it has been called.
    release: Option<Arc<dyn LockRelease>>,
    /// Of the hold: it closes when this is given back.
    #[cfg(feature = "tracing")]
    span: tracing::Span,
}

impl LockGuard {
    /// What a backend hands out: the lease, and how to give it back.
    pub fn new(lease: LockLease, release: Arc<dyn LockRelease>) -> Self {
        Self {
            held: HeldLock(lease),
            release: Some(release),
            #[cfg(feature = "tracing")]
            span: tracing::Span::none(),
        }
    }

    #[cfg(feature = "tracing")]
    pub(super) fn in_span(mut self, span: tracing::Span) -> Self {
        self.span = span;
        self
    }

    #[cfg(feature = "tracing")]
    pub(super) fn span(&self) -> &tracing::Span {
        &self.span
    }

    /// Ends the lease, if it is not over already.
    fn finish(&self) -> Result<(), LockError> {
        let in_time = self.held.0.finish();
        #[cfg(feature = "tracing")]
        self.span.record("lost", in_time.is_err());
        in_time
    }

    /// The lock's key.
    #[must_use]
    pub fn key(&self) -> &str {
        self.held.key()
    }

    /// The grant's fencing token.
    #[must_use]
    pub fn fencing_token(&self) -> FencingToken {
        self.held.fencing_token()
    }

    /// How long the present lease still runs; zero once it is over.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.held.remaining()
    }

    /// Whether the lease still runs: ask before a side effect.
    ///
    /// # Errors
    ///
    /// As [`HeldLock::check`].
    pub fn check(&self) -> Result<(), LockError> {
        self.held.check()
    }

    /// Waits until the lease is over, and says why.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves nothing behind.
    pub async fn lost(&self) -> LockError {
        self.held.lost().await
    }

    /// The same questions, cloneable and without the right to release.
    #[must_use]
    pub fn held(&self) -> HeldLock {
        self.held.clone()
    }

    pub(super) fn view(&self) -> &HeldLock {
        &self.held
    }

    /// Releases the lock and waits until it is released.
    ///
    /// # Errors
    ///
    /// [`LeaseLost`](crate::LockErrorKind::LeaseLost) or
    /// [`MaxHoldExceeded`](crate::LockErrorKind::MaxHoldExceeded) if the lease was over before;
    /// whoever holds the lock by then keeps it. Otherwise what the backend says.
    ///
    /// # Cancel safety
    ///
    /// The lock is released also if the future is dropped.
    pub async fn release(mut self) -> Result<(), LockError> {
        let (in_time, releasing) = self.begin_release();
        in_time.and(releasing.outcome().await)
    }

    /// Whether the lease had ended before, and how the release goes.
    pub(super) fn begin_release(&mut self) -> (Result<(), LockError>, LockReleasing) {
        // Over for the views first: by the time the next holder starts, nobody believes
        // otherwise.
        let in_time = self.finish();
        let releasing = match self.release.take() {
            Some(release) => release.release(&self.held.0),
            None => LockReleasing::Done(Ok(())),
        };
        (in_time, releasing)
    }
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        if let Some(release) = self.release.take() {
            // A lease that is over already stays what it is.
            let _ = self.finish();
            drop(release.release(&self.held.0));
        }
    }
}

impl fmt::Debug for LockGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LockGuard").field(&self.held.0).finish()
    }
}

/// A lock that is held, as its section sees it: the guard's questions, without the release.
///
/// Clones are one lock. After the release it answers as after a lost lease: the right to act
/// under the lock is gone either way, and a task that kept a clone must not wait for ever.
#[derive(Clone, Debug)]
pub struct HeldLock(LockLease);

impl HeldLock {
    pub(super) fn name(&self) -> SmolStr {
        self.0.name()
    }

    /// The lock's key.
    #[must_use]
    pub fn key(&self) -> &str {
        self.0.key()
    }

    /// The grant's fencing token, for the resource that the lock protects.
    #[must_use]
    pub fn fencing_token(&self) -> FencingToken {
        self.0.fencing_token()
    }

    /// How long the present lease still runs; zero once it is over.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.0.remaining()
    }

    /// Whether the lease still runs: ask before a side effect.
    ///
    /// # Errors
    ///
    /// [`LeaseLost`](crate::LockErrorKind::LeaseLost) once it ran out, was taken away or the lock
    /// was released, [`MaxHoldExceeded`](crate::LockErrorKind::MaxHoldExceeded) once the lock was
    /// held for that long.
    pub fn check(&self) -> Result<(), LockError> {
        self.0.check()
    }

    /// Waits until the lease is over, the lock's release included, and says why.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves nothing behind.
    pub async fn lost(&self) -> LockError {
        self.0.ended().await
    }
}
