//! What callers use: sections that run under a lock.

use std::pin::Pin;

use parking_lot::Mutex;

use super::chain;
use super::error::LockError;
use super::guard::HeldLock;
use super::options::LockOptions;
use super::section;
use super::service::ConcurrencyService;

/// Sections under a lock, for every [`ConcurrencyService`].
///
/// A section is an ordinary future. It is polled only while its lease runs: when the lease is
/// over, by [`max_hold`](LockOptions::max_hold) or because the backend lost it, the section is
/// dropped at the await where it stands and the caller gets
/// [`LeaseLost`](crate::LockErrorKind::LeaseLost) or
/// [`MaxHoldExceeded`](crate::LockErrorKind::MaxHoldExceeded). A value that the section returned
/// is never lost to a release that failed afterwards, nor to the end of one of several leases
/// meanwhile; that is logged. A panic in the section passes through and releases the lock.
///
/// A lock is not re-entrant: `with_lock` on a key inside `with_lock` on that key is
/// [`Deadlock`](crate::LockErrorKind::Deadlock) at once. Other ways to wait for oneself (a held
/// [`LockGuard`](crate::LockGuard), a spawned task that is awaited) end in a
/// [`Timeout`](crate::LockErrorKind::Timeout).
pub trait ConcurrencyServiceExt: ConcurrencyService {
    /// Runs `section` under the lock `key`, with the default [`LockOptions`]: waits up to 10 s.
    ///
    /// # Errors
    ///
    /// Those of [`acquire`](ConcurrencyService::acquire), when the section has not run;
    /// `Deadlock`; `LeaseLost` and `MaxHoldExceeded`, when it was stopped part of the way.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the section where it stands and releases the lock.
    ///
    /// ```no_run
    /// # use cache_core::{ConcurrencyService, ConcurrencyServiceExt, LockError};
    /// # async fn run(locks: &dyn ConcurrencyService) -> Result<(), LockError> {
    /// let sum = locks.with_lock("account:7", async { 40 + 2 }).await?;
    /// assert_eq!(sum, 42);
    /// # Ok(()) }
    /// ```
    fn with_lock<F>(
        &self,
        key: &str,
        section: F,
    ) -> impl Future<Output = Result<F::Output, LockError>> + Send
    where
        F: Future + Send,
        F::Output: Send;

    /// The same with options of one's own; the section is made once the lock is held and is given
    /// the [`HeldLock`], for its fencing token and its questions.
    ///
    /// # Errors
    ///
    /// As [`with_lock`](Self::with_lock), and `Config`.
    ///
    /// # Cancel safety
    ///
    /// As [`with_lock`](Self::with_lock).
    ///
    /// ```no_run
    /// # use cache_core::{ConcurrencyService, ConcurrencyServiceExt, LockError, LockOptions};
    /// # use std::time::Duration;
    /// # async fn write(_: u64) {}
    /// # async fn run(locks: &dyn ConcurrencyService) -> Result<(), LockError> {
    /// let options = LockOptions::default().wait(Duration::from_secs(1));
    /// locks
    ///     .with_lock_opts("account:7", &options, |held| async move {
    ///         write(held.fencing_token().into()).await;
    ///     })
    ///     .await?;
    /// # Ok(()) }
    /// ```
    fn with_lock_opts<C, Fut>(
        &self,
        key: &str,
        options: &LockOptions,
        section: C,
    ) -> impl Future<Output = Result<Fut::Output, LockError>> + Send
    where
        C: FnOnce(HeldLock) -> Fut + Send,
        Fut: Future + Send,
        Fut::Output: Send;

    /// Runs `section` under all of `keys`, or not at all. The locks are taken one after the other in
    /// the order of their names, each once, with up to 10 s to wait for each; so two callers that
    /// name the same keys in different order do not wait for each other. Without keys it runs at
    /// once.
    ///
    /// # Errors
    ///
    /// As [`with_lock`](Self::with_lock). If one lock is not to be had, those taken before are
    /// released; if one lease ends, the section is stopped.
    ///
    /// # Cancel safety
    ///
    /// As [`with_lock`](Self::with_lock).
    ///
    /// ```no_run
    /// # use cache_core::{ConcurrencyService, ConcurrencyServiceExt, LockError};
    /// # async fn transfer() {}
    /// # async fn run(locks: &dyn ConcurrencyService) -> Result<(), LockError> {
    /// locks.with_locks(&["account:9", "account:7"], transfer()).await
    /// # }
    /// ```
    fn with_locks<F>(
        &self,
        keys: &[&str],
        section: F,
    ) -> impl Future<Output = Result<F::Output, LockError>> + Send
    where
        F: Future + Send,
        F::Output: Send;

    /// Renews something that many need and one must renew, such as a token: gives what `is_fresh`
    /// finds, or what `refresh` makes under the lock `key` if it finds nothing there.
    ///
    /// `is_fresh` is asked before the lock is, and again under it, for whoever was in front has
    /// refreshed. It has to look where `refresh` leaves its result. `refresh` runs once per lock held;
    /// if it fails, the next in line tries. If the lock is not to be had, `is_fresh` is asked a last
    /// time. It never refreshes without the lock.
    ///
    /// The lock's fencing token is for the write that keeps the result, so that a holder that was
    /// halted for longer than its lease cannot overwrite a newer one.
    ///
    /// # Errors
    ///
    /// As [`with_lock`](Self::with_lock). What `refresh` says is in its own output.
    ///
    /// # Cancel safety
    ///
    /// As [`with_lock`](Self::with_lock): dropping the future drops a refresh under way.
    ///
    /// ```no_run
    /// # use cache_core::{CacheService, CacheServiceExt, ConcurrencyService, ConcurrencyServiceExt};
    /// # use std::{sync::Arc, time::Duration};
    /// # async fn ask_the_identity_provider() -> Result<String, String> { Ok("token".into()) }
    /// # async fn run(
    /// #     cache: Arc<dyn CacheService>, locks: Arc<dyn ConcurrencyService>,
    /// # ) -> Result<(), Box<dyn std::error::Error>> {
    /// let is_fresh = || async { cache.get::<String>("token:7").await.ok().flatten().map(Ok) };
    /// let refresh = |_held| async {
    ///     let token = ask_the_identity_provider().await?;
    ///     let kept = cache.set("token:7", &token, Duration::from_secs(300)).await;
    ///     kept.map_err(|error| error.to_string()).map(|()| token)
    /// };
    /// let token = locks.refresh_once("token:7", is_fresh, refresh).await??;
    /// # let _ = token; Ok(()) }
    /// ```
    fn refresh_once<T, C, Fresh, R, Refresh>(
        &self,
        key: &str,
        is_fresh: C,
        refresh: R,
    ) -> impl Future<Output = Result<T, LockError>> + Send
    where
        T: Send,
        C: Fn() -> Fresh + Send + Sync,
        Fresh: Future<Output = Option<T>> + Send,
        R: FnOnce(HeldLock) -> Refresh + Send,
        Refresh: Future<Output = T> + Send;

    /// The same with options of one's own, for a refresh that may take longer than the default lease of
    /// 30 s, or is not to be waited for as long as 10 s.
    ///
    /// # Errors
    ///
    /// As [`refresh_once`](Self::refresh_once), and `Config`.
    ///
    /// # Cancel safety
    ///
    /// As [`refresh_once`](Self::refresh_once).
    ///
    /// ```no_run
    /// # use cache_core::{ConcurrencyService, ConcurrencyServiceExt, LockError, LockOptions};
    /// # use std::time::Duration;
    /// # async fn kept() -> Option<String> { None }
    /// # async fn ask_the_identity_provider() -> String { "token".into() }
    /// # async fn run(locks: &dyn ConcurrencyService) -> Result<(), LockError> {
    /// let options = LockOptions::default().lease(Duration::from_secs(60));
    /// let refresh = |_held| ask_the_identity_provider();
    /// let token = locks.refresh_once_opts("token:7", &options, kept, refresh).await?;
    /// # let _ = token; Ok(()) }
    /// ```
    fn refresh_once_opts<T, C, Fresh, R, Refresh>(
        &self,
        key: &str,
        options: &LockOptions,
        is_fresh: C,
        refresh: R,
    ) -> impl Future<Output = Result<T, LockError>> + Send
    where
        T: Send,
        C: Fn() -> Fresh + Send + Sync,
        Fresh: Future<Output = Option<T>> + Send,
        R: FnOnce(HeldLock) -> Refresh + Send,
        Refresh: Future<Output = T> + Send;

    /// Runs `section` if the lock is free and nobody waits for it; `None` if not, also where the
    /// caller holds it itself.
    ///
    /// # Errors
    ///
    /// As [`with_lock`](Self::with_lock), without `Timeout` and `Deadlock`.
    ///
    /// # Cancel safety
    ///
    /// As [`with_lock`](Self::with_lock).
    fn try_with_lock<F>(
        &self,
        key: &str,
        section: F,
    ) -> impl Future<Output = Result<Option<F::Output>, LockError>> + Send
    where
        F: Future + Send,
        F::Output: Send;
}

impl<S: ConcurrencyService + ?Sized> ConcurrencyServiceExt for S {
    async fn with_lock<F>(&self, key: &str, section: F) -> Result<F::Output, LockError>
    where
        F: Future + Send,
        F::Output: Send,
    {
        chain::check(self, key).await?;
        let guard = self.acquire(key, &LockOptions::default()).await?;
        // Not by `with_lock_opts`: no handle is made that nobody asks for.
        section::run(guard, |_| section).await
    }

    async fn with_lock_opts<C, Fut>(
        &self,
        key: &str,
        options: &LockOptions,
        section: C,
    ) -> Result<Fut::Output, LockError>
    where
        C: FnOnce(HeldLock) -> Fut + Send,
        Fut: Future + Send,
        Fut::Output: Send,
    {
        chain::check(self, key).await?;
        let guard = self.acquire(key, options).await?;
        section::run(guard, |held| section(held.clone())).await
    }

    async fn with_locks<F>(&self, keys: &[&str], section: F) -> Result<F::Output, LockError>
    where
        F: Future + Send,
        F::Output: Send,
    {
        let mut keys = keys.to_vec();
        keys.sort_unstable();
        keys.dedup();
        // Left here as soon as it is there: what goes on after that, one release after the other, runs
        // under the outer leases, and is dropped if one of them ends.
        let value = Mutex::new(None);
        let leaving = async {
            let done = section.await;
            *value.lock() = Some(done);
        };
        let ended = under_all(self, &keys, leaving).await;
        match (value.into_inner(), ended) {
            (Some(value), Ok(())) => Ok(value),
            (Some(value), Err(error)) => {
                tracing::warn!(%error, "the section has ended, and one of its locks before its release");
                Ok(value)
            }
            (None, Err(error)) => Err(error),
            (None, Ok(())) => unreachable!("a section that has run leaves its value"),
        }
    }

    async fn refresh_once<T, C, Fresh, R, Refresh>(
        &self,
        key: &str,
        is_fresh: C,
        refresh: R,
    ) -> Result<T, LockError>
    where
        T: Send,
        C: Fn() -> Fresh + Send + Sync,
        Fresh: Future<Output = Option<T>> + Send,
        R: FnOnce(HeldLock) -> Refresh + Send,
        Refresh: Future<Output = T> + Send,
    {
        self.refresh_once_opts(key, &LockOptions::default(), is_fresh, refresh).await
    }

    async fn refresh_once_opts<T, C, Fresh, R, Refresh>(
        &self,
        key: &str,
        options: &LockOptions,
        is_fresh: C,
        refresh: R,
    ) -> Result<T, LockError>
    where
        T: Send,
        C: Fn() -> Fresh + Send + Sync,
        Fresh: Future<Output = Option<T>> + Send,
        R: FnOnce(HeldLock) -> Refresh + Send,
        Refresh: Future<Output = T> + Send,
    {
        if let Some(fresh) = is_fresh().await {
            return Ok(fresh);
        }
        let section = |held| async {
            match is_fresh().await {
                Some(fresh) => fresh,
                None => refresh(held).await,
            }
        };
        match self.with_lock_opts(key, options, section).await {
            Err(error) => is_fresh().await.ok_or(error),
            done => done,
        }
    }

    async fn try_with_lock<F>(&self, key: &str, section: F) -> Result<Option<F::Output>, LockError>
    where
        F: Future + Send,
        F::Output: Send,
    {
        match self.try_acquire(key, &LockOptions::default()).await? {
            Some(guard) => section::run(guard, |_| section).await.map(Some),
            None => Ok(None),
        }
    }
}

/// Runs `section` under the first of `keys`, and inside that under the rest.
fn under_all<'a, S, F>(
    service: &'a S,
    keys: &'a [&'a str],
    section: F,
) -> Pin<Box<dyn Future<Output = Result<F::Output, LockError>> + Send + 'a>>
where
    S: ConcurrencyService + ?Sized,
    F: Future<Output: Send> + Send + 'a,
{
    Box::pin(async move {
        match keys.split_first() {
            None => Ok(section.await),
            Some((first, rest)) => {
                service.with_lock(first, under_all(service, rest, section)).await?
            }
        }
    })
}

#[cfg(test)]
#[path = "ext_tests.rs"]
mod tests;
