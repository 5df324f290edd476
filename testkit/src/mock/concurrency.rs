//! A mock of named locks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use cache_core::{
    Clock, ConcurrencyService, FencingToken, LockError, LockErrorKind, LockGuard, LockInfo,
    LockLease, LockOptions, LockRelease, LockReleasing, Timestamp,
};

mockall::mock! {
    /// A [`ConcurrencyService`] that answers as a test tells it to.
    ///
    /// [`grants`](Self::grants), [`held`](Self::held) and [`fails`](Self::fails) say what becomes
    /// of a key however often it is asked for; [`expects_lock`](Self::expects_lock) that it must be
    /// taken. For all else there are mockall's expectations, one `expect_…` per method. It does
    /// not exclude anyone: for locks that lock, take `LocalConcurrencyService`.
    ///
    /// ```
    /// use cache_core::{ConcurrencyService, ConcurrencyServiceExt, LockErrorKind};
    /// use cache_testkit::MockConcurrencyService;
    /// use std::sync::Arc;
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), cache_core::LockError> {
    /// let mut mock = MockConcurrencyService::new();
    /// mock.expects_lock("user:7").held("user:8");
    /// let locks: Arc<dyn ConcurrencyService> = Arc::new(mock);
    ///
    /// assert_eq!(locks.with_lock("user:7", async { "done" }).await?, "done");
    /// assert_eq!(locks.try_with_lock("user:8", async { "done" }).await?, None);
    /// let error = locks.with_lock("user:8", async { "done" }).await.unwrap_err();
    /// assert_eq!(error.kind(), LockErrorKind::Timeout);
    /// # Ok(()) }
    /// ```
    #[derive(Debug)]
    pub ConcurrencyService {}

    #[async_trait]
    impl ConcurrencyService for ConcurrencyService {
        async fn acquire(&self, key: &str, options: &LockOptions) -> Result<LockGuard, LockError>;
        async fn try_acquire(
            &self,
            key: &str,
            options: &LockOptions,
        ) -> Result<Option<LockGuard>, LockError>;
        async fn inspect(&self, key: &str) -> Result<Option<LockInfo>, LockError>;
        async fn list(&self, limit: usize) -> Result<Vec<LockInfo>, LockError>;
        async fn force_release(&self, key: &str, expected: FencingToken) -> Result<bool, LockError>;
        async fn shutdown(&self);
    }
}

impl MockConcurrencyService {
    /// `key` is free: whoever asks for it gets it, for as long as it likes.
    pub fn grants(&mut self, key: &str) -> &mut Self {
        let (wanted, tried, free) = (key.to_owned(), key.to_owned(), key.to_owned());
        self.expect_acquire().withf(move |key, _| key == wanted).returning(|key, _| Ok(guard(key)));
        self.expect_try_acquire()
            .withf(move |key, _| key == tried)
            .returning(|key, _| Ok(Some(guard(key))));
        self.expect_inspect().withf(move |key| key == free).returning(|_| Ok(None));
        self
    }

    /// `key` must be taken with [`acquire`](ConcurrencyService::acquire), as `with_lock` does,
    /// exactly once; it is granted.
    pub fn expects_lock(&mut self, key: &str) -> &mut Self {
        let wanted = key.to_owned();
        self.expect_acquire()
            .withf(move |key, _| key == wanted)
            .times(1)
            .returning(|key, _| Ok(guard(key)));
        self
    }

    /// `key` is held by somebody else, all the time: waiting for it times out at once.
    pub fn held(&mut self, key: &str) -> &mut Self {
        let (wanted, tried, seen) = (key.to_owned(), key.to_owned(), key.to_owned());
        self.expect_acquire().withf(move |key, _| key == wanted).returning(|key, _| {
            let message = "the mock was told that somebody else holds it";
            Err(LockError::new(LockErrorKind::Timeout, message).with_key(key))
        });
        self.expect_try_acquire().withf(move |key, _| key == tried).returning(|_, _| Ok(None));
        self.expect_inspect()
            .withf(move |key| key == seen)
            .returning(|key| Ok(Some(LockInfo::new(key, "somebody else", FencingToken(1)))));
        self
    }

    /// Whatever is asked about `key` fails with an error of this kind.
    pub fn fails(&mut self, key: &str, kind: LockErrorKind) -> &mut Self {
        let failure =
            move |key: &str| LockError::new(kind, "the mock was told to fail").with_key(key);
        let about = |key: &str| {
            let wanted = key.to_owned();
            move |key: &str| key == wanted
        };
        let (acquire, try_acquire) = (about(key), about(key));
        let (inspect, force_release) = (about(key), about(key));
        self.expect_acquire()
            .withf(move |key, _| acquire(key))
            .returning(move |key, _| Err(failure(key)));
        self.expect_try_acquire()
            .withf(move |key, _| try_acquire(key))
            .returning(move |key, _| Err(failure(key)));
        self.expect_inspect().withf(inspect).returning(move |key| Err(failure(key)));
        self.expect_force_release()
            .withf(move |key, _| force_release(key))
            .returning(move |key, _| Err(failure(key)));
        self
    }
}

/// A guard whose lease never ends and whose release always succeeds.
fn guard(key: &str) -> LockGuard {
    static TOKENS: AtomicU64 = AtomicU64::new(1);
    let token = FencingToken(TOKENS.fetch_add(1, Ordering::Relaxed));
    let (clock, end) = (Clock::system(), Timestamp::MAX);
    LockGuard::new(LockLease::new(key.into(), token, &clock, end, end), Arc::new(Released))
}

struct Released;

impl LockRelease for Released {
    fn release(&self, _: &LockLease) -> LockReleasing {
        LockReleasing::Done(Ok(()))
    }
}
