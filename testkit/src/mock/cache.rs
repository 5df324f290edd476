//! A mock of a cache.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use async_trait::async_trait;
use cache_core::{
    CacheError, CacheService, CacheStats, CacheStore, Clock, Entry, ErrorKind, Lease, LeaseOutcome,
    Loader, ManyLoader, Policy, Selector, Timestamp,
};
use serde::Serialize;

use super::script::{Answer, Script, Write};

mockall::mock! {
    /// The calls of a [`MockCacheService`] as mockall sees them: one `expect_…` per method of
    /// [`CacheStore`] and [`CacheService`] that a backend has to implement, and some more.
    #[derive(Debug)]
    pub CacheCalls {}

    #[async_trait]
    impl CacheStore for CacheCalls {
        fn peek(&self, key: &str) -> Option<Entry>;
        async fn fetch(&self, key: &str) -> Result<Option<Entry>, CacheError>;
        async fn fetch_many(&self, keys: &[String]) -> Result<Vec<Option<Entry>>, CacheError>;
        async fn store(&self, key: &str, entry: Entry) -> Result<(), CacheError>;
        async fn store_many(&self, entries: Vec<(String, Entry)>) -> Result<(), CacheError>;
        async fn remove(&self, what: &Selector) -> Result<Option<u64>, CacheError>;
        async fn lease(&self, key: &str, ttl: Duration) -> Result<LeaseOutcome, CacheError>;
        async fn fill(&self, lease: Lease, entry: Entry) -> Result<bool, CacheError>;
        async fn abandon(&self, lease: Lease) -> Result<(), CacheError>;
        fn stats(&self) -> CacheStats;
        fn clock(&self) -> Clock;
    }

    #[async_trait]
    impl CacheService for CacheCalls {
        async fn load(&self, key: &str, policy: &Policy, loader: Loader) -> Result<Entry, CacheError>;
        async fn load_many(
            &self,
            keys: &[String],
            policy: &Policy,
            loader: ManyLoader,
        ) -> Result<Vec<Entry>, CacheError>;
        fn peek_for(&self, key: &str, policy: &Policy) -> Option<Entry>;
    }
}

/// A [`CacheService`] that answers as a test tells it to.
///
/// The methods here say what typed calls find and which writes must come; what must come and has
/// not by the time the mock is dropped fails the test ([`verify`](Self::verify) asks earlier). Answers do not change by themselves: for
/// a cache that behaves like one, take one in memory.
///
/// A call that nothing is said about goes on to mockall's expectations: each method of
/// [`CacheStore`] and [`CacheService`] that a backend has to implement, and `peek_for` and `clock`, have
/// an `expect_…` here, through [`MockCacheCalls`]; without one the call panics, naming method and key.
/// `peek`, `peek_for`, `stats` and `clock` need none: until one is set they answer with nothing, nothing,
/// zeros and the system's clock. The other methods do what their defaults do, with these.
///
/// ```
/// use cache_core::{CacheService, CacheServiceExt};
/// use cache_testkit::MockCacheService;
/// use std::sync::Arc;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), cache_core::CacheError> {
/// let mut mock = MockCacheService::new();
/// mock.hit("org:acme", "Acme").miss("org:nobody").expects_invalidate("org:acme");
/// let cache: Arc<dyn CacheService> = Arc::new(mock);
///
/// assert_eq!(cache.get("org:acme").await?, Some("Acme".to_owned()));
/// assert_eq!(cache.get_many::<String>(&["org:nobody", "org:acme"]).await?[0], None);
/// cache.invalidate("org:acme").await?;
/// # Ok(()) }
/// ```
#[derive(Default)]
pub struct MockCacheService {
    pub(super) calls: MockCacheCalls,
    pub(super) script: Script,
    /// Which of the methods that need no expectation have one.
    pub(super) expects: Expects,
}

#[derive(Default)]
pub(super) struct Expects {
    pub(super) peek: bool,
    pub(super) peek_for: bool,
    pub(super) stats: bool,
    pub(super) clock: bool,
}

impl MockCacheService {
    /// A mock that has been told nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A mock that holds nothing and runs every loader: for code that loads through the cache,
    /// where the test is about what it loads. Writes and removals are taken.
    ///
    /// ```
    /// # use {cache_core::CacheServiceExt, cache_testkit::{Loads, MockCacheService}};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), cache_core::CacheError> {
    /// let cache = MockCacheService::passthrough();
    /// assert_eq!(*cache.get_or_load("n", None, Loads::new().returning(7)).await?, 7);
    /// cache.set("n", &8, None).await?;
    /// assert_eq!(cache.get::<i32>("n").await?, None);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn passthrough() -> Self {
        let mut mock = Self::new();
        mock.loads().takes_writes();
        mock
    }

    /// `key` holds `value`: reads find it, loads return it without calling their loader.
    ///
    /// # Panics
    ///
    /// If `value` does not encode.
    pub fn hit<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) -> &mut Self {
        let entry = Entry::encode(value, &Policy::ttl(Duration::MAX));
        let entry = entry.expect("the value of a hit must encode");
        self.script.answer(key, Answer::Hit(entry));
        self
    }

    /// Checks that what must come has come. So does the end of the mock; but where its last handle goes
    /// with a task, that panics in the task, and a test that does not await it passes.
    ///
    /// ```
    /// use cache_core::{CacheService, CacheServiceExt};
    /// use cache_testkit::MockCacheService;
    /// use std::sync::Arc;
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let mut mock = MockCacheService::new();
    /// mock.expects_invalidate("org:acme");
    /// let mock = Arc::new(mock);
    /// let cache: Arc<dyn CacheService> = mock.clone();
    /// tokio::spawn(async move { cache.invalidate("org:acme").await }).await.unwrap().unwrap();
    /// mock.verify();
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// If something has not come, naming it.
    pub fn verify(&self) {
        let missing = self.script.missing();
        assert!(missing.is_empty(), "expected and did not come: {missing:?}");
    }

    /// `key` is cached as absent: reads find nothing, and neither does `get_or_load_opt`, without
    /// calling its loader.
    pub fn absent(&mut self, key: &str) -> &mut Self {
        let absent = Entry::restore(None::<Vec<u8>>, Timestamp::MAX, Timestamp::MAX);
        self.script.answer(key, Answer::Hit(absent));
        self
    }

    /// `key` is missing: reads find nothing, loads return what their loader does.
    pub fn miss(&mut self, key: &str) -> &mut Self {
        self.script.answer(key, Answer::Miss);
        self
    }

    /// Every key that nothing else is said about is [missing](Self::miss): loaders are run.
    ///
    /// ```
    /// # use {cache_core::CacheServiceExt, cache_testkit::{Loads, MockCacheService}};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), cache_core::CacheError> {
    /// let mut cache = MockCacheService::new();
    /// cache.loads().hit("a", &1);
    /// let found = cache.get_or_load_many(&["a", "b"], None, Loads::new().many(|_| Some(2))).await?;
    /// assert_eq!(found.into_iter().flatten().map(|n| *n).collect::<Vec<_>>(), [1, 2]);
    /// # Ok(()) }
    /// ```
    pub fn loads(&mut self) -> &mut Self {
        self.script.others_miss = true;
        self
    }

    /// Whatever is done with `key` fails with an error of this kind.
    ///
    /// ```
    /// # use {cache_core::{CacheServiceExt, ErrorKind}, cache_testkit::MockCacheService};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let mut cache = MockCacheService::new();
    /// cache.fails("org:acme", ErrorKind::Unavailable);
    /// let error = cache.get::<String>("org:acme").await.unwrap_err();
    /// assert_eq!((error.kind(), error.key()), (ErrorKind::Unavailable, Some("org:acme")));
    /// # }
    /// ```
    pub fn fails(&mut self, key: &str, kind: ErrorKind) -> &mut Self {
        self.script.answer(key, Answer::Fails(kind));
        self
    }

    /// `value` must be written under `key`, once; `set_many` may do it too. Another value under
    /// that key fails the test at once.
    ///
    /// ```
    /// # use {cache_core::CacheServiceExt, cache_testkit::MockCacheService};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), cache_core::CacheError> {
    /// let mut cache = MockCacheService::new();
    /// cache.expects_set("org:acme", "Acme");
    /// cache.set("org:acme", "Acme", None).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Panics
    ///
    /// If `value` does not encode.
    pub fn expects_set<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) -> &mut Self {
        let entry = Entry::encode(value, &Policy::default());
        let entry = entry.expect("the value to be set must encode");
        let json = String::from_utf8_lossy(entry.bytes().unwrap_or_default()).into_owned();
        self.script.expect(Write::Set { key: key.to_owned(), json });
        self
    }

    /// `key` must be invalidated, once, alone or among others.
    pub fn expects_invalidate(&mut self, key: &str) -> &mut Self {
        self.expects_removal(Selector::key(key))
    }

    /// `prefix` must be invalidated, once.
    pub fn expects_invalidate_prefix(&mut self, prefix: &str) -> &mut Self {
        self.expects_removal(Selector::Prefix(prefix.to_owned()))
    }

    /// The cache must be cleared, once.
    pub fn expects_clear(&mut self) -> &mut Self {
        self.expects_removal(Selector::All)
    }

    fn expects_removal(&mut self, what: Selector) -> &mut Self {
        self.script.expect(Write::Remove(what));
        self
    }

    /// Writes and removals that nothing is said about are taken and forgotten.
    pub fn takes_writes(&mut self) -> &mut Self {
        self.script.takes_writes = true;
        self
    }
}

// These four need no expectation, so it must be known whether they have one. The types are what
// mockall's own methods of these names return.
#[doc(hidden)]
impl MockCacheService {
    pub fn expect_peek(&mut self) -> &mut __mock_MockCacheCalls_CacheStore::__peek::Expectation {
        self.expects.peek = true;
        self.calls.expect_peek()
    }

    pub fn expect_peek_for(
        &mut self,
    ) -> &mut __mock_MockCacheCalls_CacheService::__peek_for::Expectation {
        self.expects.peek_for = true;
        self.calls.expect_peek_for()
    }

    pub fn expect_stats(&mut self) -> &mut __mock_MockCacheCalls_CacheStore::__stats::Expectation {
        self.expects.stats = true;
        self.calls.expect_stats()
    }

    pub fn expect_clock(&mut self) -> &mut __mock_MockCacheCalls_CacheStore::__clock::Expectation {
        self.expects.clock = true;
        self.calls.expect_clock()
    }
}

impl Deref for MockCacheService {
    type Target = MockCacheCalls;

    fn deref(&self) -> &MockCacheCalls {
        &self.calls
    }
}

impl DerefMut for MockCacheService {
    fn deref_mut(&mut self) -> &mut MockCacheCalls {
        &mut self.calls
    }
}

impl Drop for MockCacheService {
    fn drop(&mut self) {
        // A test that fails already is not to abort over this.
        if !std::thread::panicking() {
            self.verify();
        }
    }
}

impl fmt::Debug for MockCacheService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MockCacheService").field("script", &self.script).finish_non_exhaustive()
    }
}
