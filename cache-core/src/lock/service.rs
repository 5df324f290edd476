//! The contract of a lock backend.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;

use super::error::{LockError, LockErrorKind};
use super::guard::LockGuard;
use super::info::{FencingToken, LockInfo};
use super::options::LockOptions;

/// Named locks with leases, first come first served: what a service crate holds as
/// `Arc<dyn ConcurrencyService>`. Callers use
/// [`ConcurrencyServiceExt::with_lock`](crate::ConcurrencyServiceExt::with_lock).
///
/// A lock alone does not make writes correct: a holder that is paused past its lease wakes up in
/// the middle of its section. What must not happen twice is written with the
/// [`FencingToken`] to a resource that refuses lower ones.
///
/// *For every method*
///
/// - Keys have 1 to 1,024 bytes. Another key is `InvalidKey`, options that do not
///   [validate](LockOptions::validate) are `Config`, both before any I/O.
/// - While a holder's [`LockLease`](crate::LockLease) runs, no other holder's does.
/// - Fencing tokens strictly increase per key, in the order of grants, across lost leases and
///   restarts.
/// - Locks are granted in the order of arrival. A caller never overtakes those who wait,
///   whether it waits itself, tries once, or has just released.
/// - Every future may be dropped at any point and leaves nothing behind: a waiter leaves the
///   queue, and a lock granted meanwhile passes to the next.
/// - At rest nothing is kept for a key.
///
/// `Arc<S>` and `Box<S>` of a service are services.
#[async_trait]
pub trait ConcurrencyService: fmt::Debug + Send + Sync + 'static {
    /// Takes the lock `key`, waiting for it as long as `options` allow.
    ///
    /// *Behaviour*
    ///
    /// - A free lock without a queue is granted at once.
    /// - Otherwise the caller joins the end of the queue, for at most
    ///   [`wait`](LockOptions::wait); zero means one try and no place in the queue.
    /// - A release passes the lock to the head of the queue directly.
    /// - When a holder's lease ends without a release, the head of the queue takes over; the old
    ///   guard's release then errs and touches nothing.
    /// - The lease starts no later than the grant. With [`renew`](LockOptions::renew) it is
    ///   prolonged as long as the guard lives, up to [`max_hold`](LockOptions::max_hold).
    /// - A caller that waits for a lock it holds itself is not detected here and times out;
    ///   `with_lock` inside `with_lock` is, see
    ///   [`Deadlock`](crate::LockErrorKind::Deadlock).
    ///
    /// # Errors
    ///
    /// [`Timeout`](crate::LockErrorKind::Timeout) if others held it for all of `wait`;
    /// [`Unavailable`](crate::LockErrorKind::Unavailable) if the backend cannot be reached or was
    /// shut down; [`LeaseLost`](crate::LockErrorKind::LeaseLost) if the lock was granted and
    /// lost again before the caller was polled; `InvalidKey`, `Config`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives up the place in the queue, and the lock if it was just granted.
    async fn acquire(&self, key: &str, options: &LockOptions) -> Result<LockGuard, LockError>;

    /// Takes the lock if it is free and nobody waits for it; `None` otherwise.
    ///
    /// *Behaviour*: never waits for a holder, never joins the queue. A holder whose lease is over
    /// does not count.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire), without `Timeout`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives up the lock if it was just granted.
    async fn try_acquire(
        &self,
        key: &str,
        options: &LockOptions,
    ) -> Result<Option<LockGuard>, LockError>;

    /// Who holds the lock; `None` if nobody does.
    ///
    /// *Behaviour*: changes nothing. A holder whose lease is over does not count.
    ///
    /// # Errors
    ///
    /// `InvalidKey`, `Unavailable`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves nothing behind.
    async fn inspect(&self, key: &str) -> Result<Option<LockInfo>, LockError>;

    /// The locks that are held, `limit` at most, for an operator.
    ///
    /// *Behaviour*: changes nothing, and is no snapshot: each was held at some moment of the
    /// call. It goes through all locks there are, on Redis through all keys of every primary until
    /// `limit` are found, in steps between which others are served: that takes its time.
    ///
    /// # Errors
    ///
    /// `Unavailable`, also for a backend that keeps no list of its locks, as one does that leaves
    /// this method out.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves nothing behind.
    async fn list(&self, limit: usize) -> Result<Vec<LockInfo>, LockError> {
        let _ = limit;
        let message = "this backend keeps no list of its locks";
        Err(LockError::new(LockErrorKind::Unavailable, message))
    }

    /// Takes the lock away from the holder with this token, for an operator who knows that the
    /// holder is gone. True if that holder had it.
    ///
    /// *Behaviour*: only the holder [inspected](Self::inspect) can be hit, never its successor.
    /// A holder in this process has lost its lease (`LeaseLost`) before the head of the queue gets the
    /// lock; one in another process loses it as soon as it is told, and at its next renewal if it
    /// cannot be told.
    ///
    /// # Errors
    ///
    /// `InvalidKey`, `Unavailable`.
    ///
    /// After `Unavailable` the lock may or may not have been taken away. If its holder is in this
    /// process, its lease is over in any case: it has lost the lock, and others get it at the latest
    /// when the lease has run out by itself.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, it is as after `Unavailable`.
    async fn force_release(&self, key: &str, expected: FencingToken) -> Result<bool, LockError>;

    /// Stops granting: callers that wait and callers that come later get
    /// [`Unavailable`](crate::LockErrorKind::Unavailable).
    ///
    /// *Behaviour*: who holds a lock keeps it and releases it as usual. Releases that run in the
    /// background are finished before it returns. Calling it twice is fine.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, granting may have stopped already.
    async fn shutdown(&self);
}

/// What `#[async_trait]` makes of an `async fn`; written out, so that forwarding hands the inner
/// future on instead of boxing it a second time.
type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

macro_rules! forward {
    ($($pointer:ident),*) => {$(
        #[deny(clippy::missing_trait_methods)]
        impl<S: ConcurrencyService + ?Sized> ConcurrencyService for $pointer<S> {
            fn acquire<'life0, 'life1, 'life2, 'async_trait>(
                &'life0 self,
                key: &'life1 str,
                options: &'life2 LockOptions,
            ) -> BoxFuture<'async_trait, Result<LockGuard, LockError>>
            where
                'life0: 'async_trait,
                'life1: 'async_trait,
                'life2: 'async_trait,
                Self: 'async_trait,
            {
                (**self).acquire(key, options)
            }

            fn try_acquire<'life0, 'life1, 'life2, 'async_trait>(
                &'life0 self,
                key: &'life1 str,
                options: &'life2 LockOptions,
            ) -> BoxFuture<'async_trait, Result<Option<LockGuard>, LockError>>
            where
                'life0: 'async_trait,
                'life1: 'async_trait,
                'life2: 'async_trait,
                Self: 'async_trait,
            {
                (**self).try_acquire(key, options)
            }

            fn inspect<'life0, 'life1, 'async_trait>(
                &'life0 self,
                key: &'life1 str,
            ) -> BoxFuture<'async_trait, Result<Option<LockInfo>, LockError>>
            where
                'life0: 'async_trait,
                'life1: 'async_trait,
                Self: 'async_trait,
            {
                (**self).inspect(key)
            }

            fn list<'life0, 'async_trait>(
                &'life0 self,
                limit: usize,
            ) -> BoxFuture<'async_trait, Result<Vec<LockInfo>, LockError>>
            where
                'life0: 'async_trait,
                Self: 'async_trait,
            {
                (**self).list(limit)
            }

            fn force_release<'life0, 'life1, 'async_trait>(
                &'life0 self,
                key: &'life1 str,
                expected: FencingToken,
            ) -> BoxFuture<'async_trait, Result<bool, LockError>>
            where
                'life0: 'async_trait,
                'life1: 'async_trait,
                Self: 'async_trait,
            {
                (**self).force_release(key, expected)
            }

            fn shutdown<'life0, 'async_trait>(&'life0 self) -> BoxFuture<'async_trait, ()>
            where
                'life0: 'async_trait,
                Self: 'async_trait,
            {
                (**self).shutdown()
            }
        }
    )*};
}

forward!(Arc, Box);
