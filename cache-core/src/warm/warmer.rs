//! [`Warmer`]: the registered loaders, and the runs that are under way.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tokio::task::{AbortHandle, JoinSet};

use super::builder::WarmerBuilder;
use super::loader::{WarmLoader, WarmLoaderInfo};
use super::progress::{WarmCause, WarmProgress};
use super::run::{Part, Plan, Reporter, WarmRun};
use crate::{CacheError, CacheService, Clock, ErrorKind, check_key};

/// Runs that are remembered, and that may be under way.
const RUNS: usize = 32;

/// What to warm.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warm {
    /// Every loader that lists its keys.
    All,
    /// The loader with this name, which lists its keys.
    Loader(String),
    /// These keys, each by the loader whose prefix it has.
    Keys(Vec<String>),
}

/// Warms a cache up by registered loaders: at the start, on a schedule, on demand.
///
/// It loads what is not cached, in batches, by
/// [`get_or_load_many`](crate::CacheServiceExt::get_or_load_many). So a value that was written during
/// the warm-up stays, and nodes that warm up at the same time share the work.
///
/// Clones are handles to the same warmer; with the last one what it has under way ends.
///
/// ```
/// use cache_core::{CacheService, CacheServiceExt, Warm, WarmLoader, Warmer};
/// use std::{collections::HashMap, io, sync::Arc};
///
/// async fn warm_up(cache: Arc<dyn CacheService>) -> Result<Warmer, cache_core::CacheError> {
///     let warmer = Warmer::builder(cache)
///         .loader(
///             WarmLoader::new("orgs", "org:", |keys: Vec<String>| async move {
///                 // One query for all of them.
///                 Ok::<_, io::Error>(keys.into_iter().map(|key| (key, 1)).collect::<HashMap<_, u64>>())
///             })
///             .keys(async || Ok::<_, io::Error>(vec!["org:acme".to_owned(), "org:globex".to_owned()])),
///         )
///         .build()?;
///
///     let start = warmer.start()?.wait().await;
///     assert_eq!((start.total, start.failed), (2, 0));
///
///     let mut run = warmer.warm(Warm::Keys(vec!["org:initech".to_owned()]))?;
///     while let Some(progress) = run.next().await {
///         println!("{} of {}", progress.done, progress.total);
///     }
///     Ok(warmer)
/// }
/// ```
#[derive(Clone)]
pub struct Warmer(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    has_schedules: AtomicBool,
    /// `None`: shut down. They end with this.
    tasks: Mutex<Option<JoinSet<()>>>,
}

/// What tasks use; it does not keep the warmer alive.
pub(super) struct Shared {
    pub(super) cache: Arc<dyn CacheService>,
    pub(super) clock: Clock,
    pub(super) batch_size: usize,
    pub(super) concurrency: usize,
    /// One per batch that is being loaded. It goes with the load, not with the wait for it.
    pub(super) turns: Arc<Semaphore>,
    loaders: Vec<Arc<WarmLoader>>,
    last_id: AtomicU64,
    /// The oldest first.
    runs: Mutex<VecDeque<watch::Receiver<WarmProgress>>>,
}

impl Warmer {
    /// A builder for the warmer of `cache`.
    pub fn builder(cache: Arc<dyn CacheService>) -> WarmerBuilder {
        WarmerBuilder::new(cache)
    }

    pub(super) fn new(parts: WarmerBuilder) -> Self {
        let WarmerBuilder { cache, clock, loaders, batch_size, concurrency } = parts;
        let shared = Shared {
            cache,
            clock,
            batch_size,
            concurrency,
            turns: Arc::new(Semaphore::new(concurrency.min(Semaphore::MAX_PERMITS))),
            loaders: loaders.into_iter().map(Arc::new).collect(),
            last_id: AtomicU64::new(0),
            runs: Mutex::default(),
        };
        Self(Arc::new(Inner {
            shared: Arc::new(shared),
            has_schedules: AtomicBool::new(false),
            tasks: Mutex::new(Some(JoinSet::new())),
        }))
    }

    /// Warms what is to be warmed at the start, and begins the schedules, each with a first run after
    /// its interval. Wait for the run to take traffic with a warm cache, or do not.
    ///
    /// Called again it warms again; the schedules go on as they were.
    ///
    /// # Errors
    ///
    /// As [`warm`](Self::warm).
    pub fn start(&self) -> Result<WarmRun, CacheError> {
        let chosen = self.0.shared.loaders.iter().filter(|loader| loader.is_for_start());
        let parts = chosen.map(|loader| (Arc::clone(loader), None)).collect();
        let run = self.begin(Plan { cause: WarmCause::Start, parts })?;
        if !self.0.has_schedules.swap(true, Ordering::AcqRel) {
            for loader in &self.0.shared.loaders {
                if let Some(every) = loader.every {
                    let (shared, loader) = (Arc::clone(&self.0.shared), Arc::clone(loader));
                    let begun = shared.clock.now();
                    self.spawn(|| {
                        Ok(async move {
                            let mut due = begun + every;
                            loop {
                                shared.clock.sleep_until(due).await;
                                shared.on_schedule(&loader).await;
                                // What was missed meanwhile is left out.
                                due = (due + every).max(shared.clock.now());
                            }
                        })
                    })?;
                }
            }
        }
        Ok(run)
    }

    /// Begins to warm `what`, in the background.
    ///
    /// # Errors
    ///
    /// [`Config`](ErrorKind::Config) if no loader has that name or lists its keys, or none loads one
    /// of the keys, and outside a tokio runtime; [`InvalidKey`](ErrorKind::InvalidKey);
    /// [`Unavailable`](ErrorKind::Unavailable) after [`shutdown`](Self::shutdown), and while 32 runs
    /// are under way.
    pub fn warm(&self, what: Warm) -> Result<WarmRun, CacheError> {
        let parts = self.0.shared.parts(what)?;
        self.begin(Plan { cause: WarmCause::Demand, parts })
    }

    /// The registered loaders, in the order in which they were registered.
    #[must_use]
    pub fn loaders(&self) -> Vec<WarmLoaderInfo> {
        self.0.shared.loaders.iter().map(|loader| loader.info()).collect()
    }

    /// The last 32 runs, the latest first.
    #[must_use]
    pub fn runs(&self) -> Vec<WarmProgress> {
        let runs = self.0.shared.runs.lock();
        runs.iter().rev().map(|run| run.borrow().clone()).collect()
    }

    /// The run with this number, if it is one of the last 32.
    #[must_use]
    pub fn run(&self, id: u64) -> Option<WarmProgress> {
        let runs = self.0.shared.runs.lock();
        runs.iter().map(|run| run.borrow()).find(|run| run.id == id).map(|run| run.clone())
    }

    /// Stops runs and schedules and waits until they have ended. Later calls of
    /// [`warm`](Self::warm) fail. Loads that the cache has begun go on for whoever waits for them.
    ///
    /// Called again it returns at once, whether or not the first call has come to its end.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, everything is being stopped all the same; there is no way to wait for
    /// the end of it then.
    pub async fn shutdown(&self) {
        let tasks = self.0.tasks.lock().take();
        if let Some(mut tasks) = tasks {
            tasks.shutdown().await;
        }
    }

    fn begin(&self, plan: Plan) -> Result<WarmRun, CacheError> {
        let shared = Arc::clone(&self.0.shared);
        let mut watched = None;
        let task = self.spawn(|| {
            let reporter = shared.enlist(plan.cause)?;
            watched = Some(reporter.watch());
            Ok(async move { plan.carry_out(&shared, reporter).await })
        })?;
        watched.map(|watched| WarmRun::new(watched, task)).ok_or_else(shut_down)
    }

    /// Starts the task that `make` makes, which is not called where none can be started.
    fn spawn<F>(
        &self,
        make: impl FnOnce() -> Result<F, CacheError>,
    ) -> Result<AbortHandle, CacheError>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut tasks = self.0.tasks.lock();
        let Some(tasks) = &mut *tasks else {
            return Err(shut_down());
        };
        let runtime = Handle::try_current().map_err(|error| {
            let message = "warming up needs a tokio runtime";
            CacheError::new(ErrorKind::Config, message).with_source(error)
        })?;
        while tasks.try_join_next().is_some() {}
        Ok(tasks.spawn_on(make()?, &runtime))
    }
}

fn shut_down() -> CacheError {
    CacheError::new(ErrorKind::Unavailable, "the warmer is shut down")
}

impl Shared {
    fn parts(&self, what: Warm) -> Result<Vec<Part>, CacheError> {
        let config = |message: String| CacheError::new(ErrorKind::Config, message);
        match what {
            Warm::All => {
                let listing = self.loaders.iter().filter(|loader| loader.lists_keys());
                Ok(listing.map(|loader| (Arc::clone(loader), None)).collect())
            }
            Warm::Loader(name) => match self.loaders.iter().find(|loader| loader.name == name) {
                None => Err(config(format!("no warm-up loader is named {name:?}"))),
                Some(loader) if !loader.lists_keys() => {
                    Err(config(format!("{name:?} does not list its keys: name them")))
                }
                Some(loader) => Ok(vec![(Arc::clone(loader), None)]),
            },
            Warm::Keys(keys) => {
                let mut sorted = vec![Vec::new(); self.loaders.len()];
                for key in keys {
                    check_key(&key)?;
                    let fitting = self.loaders.iter().enumerate();
                    let fitting = fitting.filter(|(_, loader)| key.starts_with(&loader.prefix));
                    let Some((at, _)) = fitting.max_by_key(|(_, loader)| loader.prefix.len())
                    else {
                        return Err(config(format!("no warm-up loader has a prefix of {key:?}")));
                    };
                    sorted[at].push(key);
                }
                let parts = self.loaders.iter().zip(sorted).filter(|(_, keys)| !keys.is_empty());
                Ok(parts.map(|(loader, keys)| (Arc::clone(loader), Some(keys))).collect())
            }
        }
    }

    /// Makes a new run known.
    fn enlist(&self, cause: WarmCause) -> Result<Reporter, CacheError> {
        let mut runs = self.runs.lock();
        if runs.len() >= RUNS {
            let Some(ended) = runs.iter().position(|run| !run.borrow().is_running()) else {
                let message = format!("{RUNS} warm-ups are under way: wait for one of them");
                return Err(CacheError::new(ErrorKind::Unavailable, message).with_retryable(true));
            };
            runs.remove(ended);
        }
        let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        let begun = WarmProgress::begun(id, cause, self.clock.now());
        let reporter = Reporter::new(begun, self.clock.clone());
        runs.push_back(reporter.watch());
        Ok(reporter)
    }

    async fn on_schedule(&self, loader: &Arc<WarmLoader>) {
        let parts = vec![(Arc::clone(loader), None)];
        match self.enlist(WarmCause::Schedule) {
            Ok(reporter) => {
                Plan { cause: WarmCause::Schedule, parts }.carry_out(self, reporter).await;
            }
            Err(error) => tracing::warn!(loader = loader.name, %error, "a warm-up was left out"),
        }
    }
}

impl fmt::Debug for Warmer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shared { loaders, batch_size, concurrency, .. } = &*self.0.shared;
        f.debug_struct("Warmer")
            .field("loaders", loaders)
            .field("batch_size", batch_size)
            .field("concurrency", concurrency)
            .finish_non_exhaustive()
    }
}
