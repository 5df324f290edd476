//! How something is looked up: in the database, in the cache, or in both to compare them.

use std::error::Error;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cache_services::{CacheError, CacheService, CacheServiceExt, ErrorKind};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::database::DatabaseError;
use crate::live::{Live, Ttl};
use crate::problem::Problem;
use crate::secret::shortened;

/// Comparisons under way at most; what comes on top is not compared.
const COMPARISONS: usize = 256;
/// How often a comparison begins anew because the database changed meanwhile.
const ROUNDS: u32 = 3;

/// Where answers come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The database, each time.
    Direct,
    /// The cache, and the database for what it does not have.
    #[default]
    Cached,
    /// The database; the cache is asked too, behind the answer, and the two are compared.
    Shadow,
}

impl FromStr for Mode {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        match name {
            "direct" => Ok(Self::Direct),
            "cached" => Ok(Self::Cached),
            "shadow" => Ok(Self::Shadow),
            _ => Err(()),
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Direct => "direct",
            Self::Cached => "cached",
            Self::Shadow => "shadow",
        })
    }
}

/// What shadow mode has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ShadowCounts {
    /// Comparisons that came to an end.
    pub compared: u64,
    /// Of these: the cache said something else than the database, and went on saying so for longer
    /// than it may; or what it holds cannot be read.
    pub differences: u64,
    /// Of these: the two differed, and agreed a moment later.
    pub settled: u64,
    /// Of these: what was compared changed too often to say.
    pub undecided: u64,
    /// Requests that were not compared: not in the sample, or too many at once.
    pub skipped: u64,
    /// Comparisons that failed, because the cache or the database did.
    pub failed: u64,
}

#[derive(Debug, Default)]
struct Counters {
    compared: AtomicU64,
    differences: AtomicU64,
    settled: AtomicU64,
    undecided: AtomicU64,
    skipped: AtomicU64,
    failed: AtomicU64,
}

/// Looks things up; clones share the cache and the counters.
#[derive(Clone, Debug)]
pub struct Lookups {
    cache: Arc<dyn CacheService>,
    live: Arc<Live>,
    shadow: Arc<Shadow>,
    /// Where comparisons run, and what ends them.
    background: (TaskTracker, CancellationToken),
}

#[derive(Debug)]
struct Shadow {
    counters: Counters,
    permits: Arc<Semaphore>,
}

/// What can be looked up: it is kept in the cache, and two of it can be compared.
pub trait Value: Serialize + DeserializeOwned + PartialEq + Send + Sync + 'static {}
impl<T: Serialize + DeserializeOwned + PartialEq + Send + Sync + 'static> Value for T {}

impl Lookups {
    pub(crate) fn new(
        cache: Arc<dyn CacheService>,
        live: Arc<Live>,
        background: (TaskTracker, CancellationToken),
    ) -> Self {
        let permits = Arc::new(Semaphore::new(COMPARISONS));
        let shadow = Arc::new(Shadow { counters: Counters::default(), permits });
        Self { cache, live, shadow, background }
    }

    /// What `load` says, or what is cached of it under `key` for the time that `ttl` names. That there
    /// is nothing is remembered too.
    ///
    /// # Errors
    ///
    /// A [`Problem`] to answer with if `load` fails, or takes too long.
    ///
    /// # Cancel safety
    ///
    /// A dropped lookup changes nothing; a load that it began goes on for others.
    pub async fn find<T, F, Fut>(
        &self,
        key: &str,
        ttl: Ttl,
        load: F,
    ) -> Result<Option<Arc<T>>, Problem>
    where
        T: Value,
        F: Fn() -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<Option<T>, DatabaseError>> + Send + 'static,
    {
        match self.live.settings().resolver {
            Mode::Cached => self.cached(key, ttl, load).await,
            Mode::Direct => Ok(load().await?.map(Arc::new)),
            Mode::Shadow => {
                let direct = load().await?.map(Arc::new);
                self.compare_later(key, ttl, load, direct.clone());
                Ok(direct)
            }
        }
    }

    /// What shadow mode has seen so far.
    #[must_use]
    pub fn shadow_counts(&self) -> ShadowCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Counters { compared, differences, settled, undecided, skipped, failed } =
            &self.shadow.counters;
        ShadowCounts {
            compared: compared.load(Ordering::Acquire),
            differences: read(differences),
            settled: read(settled),
            undecided: read(undecided),
            skipped: read(skipped),
            failed: read(failed),
        }
    }

    async fn cached<T, F, Fut>(
        &self,
        key: &str,
        ttl: Ttl,
        load: F,
    ) -> Result<Option<Arc<T>>, Problem>
    where
        T: Value,
        F: Fn() -> Fut + Clone + Send + 'static,
        Fut: Future<Output = Result<Option<T>, DatabaseError>> + Send + 'static,
    {
        match self.readable(key, ttl, load.clone()).await? {
            Some(found) => Ok(found),
            // It is no reason to refuse the request.
            None => Ok(load().await?.map(Arc::new)),
        }
    }

    /// Compares behind the answer, so that the request neither waits for the cache nor fails with it.
    fn compare_later<T, F, Fut>(&self, key: &str, ttl: Ttl, load: F, direct: Option<Arc<T>>)
    where
        T: Value,
        F: Fn() -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<Option<T>, DatabaseError>> + Send + 'static,
    {
        let counters = &self.shadow.counters;
        let sampled = fastrand::f64() < self.live.settings().shadow_sample;
        let permit = sampled.then(|| Arc::clone(&self.shadow.permits).try_acquire_owned().ok());
        let Some(permit) = permit.flatten() else {
            counters.skipped.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let (lookups, key) = (self.clone(), key.to_owned());
        let (tasks, stopping) = self.background.clone();
        tasks.spawn(async move {
            let _permit = permit;
            let comparing = lookups.compare(&key, ttl, load, direct);
            if let Some(compared) = stopping.run_until_cancelled(comparing).await {
                lookups.count(&key, compared);
            }
        });
    }

    fn count(&self, key: &str, compared: Result<Verdict, Box<dyn Error + Send + Sync>>) {
        let counters = &self.shadow.counters;
        let counter = match compared {
            Err(error) => {
                let key = shortened(key);
                tracing::debug!(error = &*error as &dyn Error, key, "nothing to compare");
                counters.failed.fetch_add(1, Ordering::Relaxed);
                return;
            }
            Ok(Verdict::Same) => None,
            Ok(Verdict::Settled) => Some(&counters.settled),
            Ok(Verdict::Undecided) => Some(&counters.undecided),
            Ok(Verdict::Different) => {
                tracing::warn!(key = shortened(key), "the cache differs from the database");
                Some(&counters.differences)
            }
        };
        if let Some(counter) = counter {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        // Last: who sees that it was compared sees with what result.
        counters.compared.fetch_add(1, Ordering::Release);
    }

    /// Whether the cache says what the database says.
    ///
    /// A difference proves nothing yet: it may have changed between the two reads, and another
    /// instance may see a change only within the promised bound. It counts if the database says the
    /// same before that time and after it, and the cache something else.
    async fn compare<T, F, Fut>(
        &self,
        key: &str,
        ttl: Ttl,
        load: F,
        mut direct: Option<Arc<T>>,
    ) -> Result<Verdict, Box<dyn Error + Send + Sync>>
    where
        T: Value,
        F: Fn() -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<Option<T>, DatabaseError>> + Send + 'static,
    {
        match self.readable(key, ttl, load.clone()).await? {
            None => return Ok(Verdict::Different),
            Some(cached) if cached == direct => return Ok(Verdict::Same),
            Some(_) => {}
        }
        for _ in 0..ROUNDS {
            tokio::time::sleep(self.live.settings().shadow_settle).await;
            let before = load().await?.map(Arc::new);
            let Some(cached) = self.readable(key, ttl, load.clone()).await? else {
                return Ok(Verdict::Different);
            };
            let after = load().await?.map(Arc::new);
            if cached == before || cached == after {
                return Ok(Verdict::Settled);
            }
            if direct == before && before == after {
                return Ok(Verdict::Different);
            }
            direct = after;
        }
        Ok(Verdict::Undecided)
    }

    /// What is cached, or loaded to be; `None` if what is cached cannot be read, which is removed then:
    /// a value of another build of this service, say.
    async fn readable<T, F, Fut>(
        &self,
        key: &str,
        ttl: Ttl,
        load: F,
    ) -> Result<Option<Option<Arc<T>>>, CacheError>
    where
        T: Value,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<Option<T>, DatabaseError>> + Send + 'static,
    {
        match self.cache.get_or_load_opt(key, self.live.policy(ttl), load).await {
            Err(error) if error.kind() == ErrorKind::Serialization => {
                let shown = shortened(key);
                tracing::warn!(
                    error = &error as &dyn Error,
                    key = shown,
                    "dropped: it cannot be read"
                );
                // If this fails, who finds it next tries again.
                let _ = self.cache.invalidate(key).await;
                Ok(None)
            }
            found => found.map(Some),
        }
    }
}

enum Verdict {
    Same,
    Settled,
    Different,
    Undecided,
}
