//! What a behaviour is given, and how it is run.

use std::fmt;
use std::future::{IntoFuture, Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cache_core::{ConcurrencyService, FencingToken, LockGuard, LockOptions, ManualClock};

/// A behaviour that takes longer hangs.
const HANGS_AFTER: Duration = Duration::from_secs(60);
/// What is to be done at once, and takes longer, waits for something.
const AT_ONCE: Duration = Duration::from_secs(5);

/// Makes a further client.
type Another =
    dyn Fn() -> Pin<Box<dyn Future<Output = Arc<dyn ConcurrencyService>> + Send>> + Send + Sync;

/// A part of the lock contract that a backend may be without. What has to see a part to test another
/// is run where both are declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LockCapability {
    /// Excludes, releases, refuses bad input. Without it a backend is no lock.
    Exclusion,
    /// Grants in the order of arrival, and a place in the queue can be given up.
    Fifo,
    /// Leases end, are renewed, and are taken over.
    Leases,
    /// Fencing tokens increase.
    Fencing,
    /// `inspect` knows the holder and the number of those who wait. Without it most of
    /// [`Fifo`](Self::Fifo) is not tested either, and part of the rest: whether somebody waits
    /// already is not known then.
    Inspect,
    /// `list` names the locks that are held.
    List,
    /// `force_release` takes a lock away.
    ForceRelease,
    /// `shutdown` turns callers away.
    Shutdown,
}

/// What a backend declares to be able to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockCapabilities(u32);

impl LockCapabilities {
    /// Everything.
    pub const ALL: Self = Self(u32::MAX);

    /// All of these but `capability`.
    #[must_use]
    pub const fn without(self, capability: LockCapability) -> Self {
        Self(self.0 & !(1 << capability as u32))
    }

    /// Whether `capability` is declared.
    #[must_use]
    pub const fn has(self, capability: LockCapability) -> bool {
        self.0 & (1 << capability as u32) != 0
    }
}

/// Panics if something is declared for which `tested` holds no test. Run by the macro when the
/// test is compiled:
///
/// ```compile_fail,E0080
/// use cache_testkit::concurrency_suite::{
///     LockCapabilities, LockCapability, check_lock_capabilities,
/// };
///
/// const _: () = check_lock_capabilities(LockCapabilities::ALL, &[LockCapability::Exclusion]);
/// ```
pub const fn check_lock_capabilities(declared: LockCapabilities, tested: &[LockCapability]) {
    use LockCapability::{Exclusion, Fencing, Fifo, ForceRelease, Inspect, Leases, List, Shutdown};
    let all = [Exclusion, Fifo, Leases, Fencing, Inspect, List, ForceRelease, Shutdown];
    let mut untested = declared;
    let mut i = 0;
    while i < tested.len() {
        untested = untested.without(tested[i]);
        i += 1;
    }
    i = 0;
    while i < all.len() {
        assert!(!untested.has(all[i]), "a capability is declared for which no test runs");
        i += 1;
    }
}

/// A backend under test, made anew for each behaviour.
#[derive(Clone)]
pub struct LockHarness {
    /// The backend.
    pub service: Arc<dyn ConcurrencyService>,
    /// Its clock, if it runs on one that can be moved. Otherwise the suite waits in real time.
    pub clock: Option<ManualClock>,
    prefix: String,
    another: Option<Arc<Another>>,
    declared: LockCapabilities,
}

impl LockHarness {
    /// A backend on real time.
    pub fn new(service: impl ConcurrencyService) -> Self {
        Self {
            service: Arc::new(service),
            clock: None,
            prefix: String::new(),
            another: None,
            declared: LockCapabilities::ALL,
        }
    }

    /// A backend that was made with `clock`.
    #[must_use]
    pub fn with_clock(mut self, clock: ManualClock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// For a backend that shares a server with other tests: starts every key with `prefix`.
    #[must_use]
    pub fn with_key_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// For a backend whose locks are shared by several processes: how to make one more client of the
    /// same server, as another process has it. Exclusion, order, fences and `force_release` are then
    /// tested between two clients as well.
    ///
    /// ```
    /// # mod my_locks {
    /// #     pub type MyLocks = std::sync::Arc<dyn cache_core::ConcurrencyService>;
    /// #     pub async fn connect() -> MyLocks { unimplemented!() }
    /// # }
    /// use cache_testkit::concurrency_suite::LockHarness;
    ///
    /// async fn harness() -> LockHarness {
    ///     LockHarness::new(my_locks::connect().await).with_another(my_locks::connect)
    /// }
    /// ```
    #[must_use]
    pub fn with_another<S, F>(mut self, make: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        S: ConcurrencyService,
        F: Future<Output = S> + Send + 'static,
    {
        self.another = Some(Arc::new(move || {
            let made = make();
            Box::pin(async move { Arc::new(made.await) as Arc<dyn ConcurrencyService> })
        }));
        self
    }

    /// The same backend as another client sees it, if there can be one.
    pub(super) async fn another(&self) -> Option<Self> {
        let service = self.another.as_ref()?().await;
        Some(Self { service, ..self.clone() })
    }

    pub(super) fn declares(&self, capability: LockCapability) -> bool {
        self.declared.has(capability)
    }

    /// Fails if the first token is not lower than the second, if that is declared.
    #[track_caller]
    pub(super) fn increases(&self, first: FencingToken, second: FencingToken) {
        if self.declares(LockCapability::Fencing) {
            assert!(first < second, "{second:?} after {first:?}");
        }
    }

    /// The key to use for `name`.
    #[must_use]
    pub fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Takes the lock; waits 10 s of real or manual time.
    ///
    /// # Panics
    ///
    /// If it does not get it.
    pub async fn hold(&self, key: &str) -> LockGuard {
        let guard = self.service.acquire(key, &LockOptions::default()).await;
        guard.expect("the lock can be taken")
    }

    /// Lets time pass: moves the manual clock, or sleeps.
    pub async fn pass(&self, time: Duration) {
        match &self.clock {
            Some(clock) => clock.advance(time),
            // A real backend on a real clock: nothing else can make its time pass.
            None => tokio::time::sleep(time).await,
        }
    }

    /// Whether `condition` comes about within ten seconds by the backend's clock, of which no more
    /// pass than are needed.
    pub(super) async fn comes_about(&self, condition: impl AsyncFn() -> bool) -> bool {
        const STEP: Duration = Duration::from_millis(20);
        for _ in 0..500 {
            if condition().await {
                return true;
            }
            self.pass(STEP).await;
            if self.clock.is_some() {
                // Real time, for whatever the backend does beside: moving its clock takes none.
                tokio::time::sleep(STEP / 5).await;
            }
        }
        false
    }

    /// Takes the lock by trying, as soon as it is free.
    ///
    /// # Panics
    ///
    /// If that takes longer than ten seconds by the backend's clock.
    pub(super) async fn hold_by_trying(&self, key: &str) -> LockGuard {
        let (taken, options) = (std::sync::Mutex::new(None), LockOptions::default());
        let tries = async || {
            let tried = self.service.try_acquire(key, &options).await;
            let tried = tried.expect("the lock can be asked for");
            let is_free = tried.is_some();
            *taken.lock().unwrap() = tried;
            is_free
        };
        assert!(self.comes_about(tries).await, "nobody holds {key:?}, and it is not free");
        taken.into_inner().unwrap().unwrap()
    }

    /// Waits until `count` callers wait for `key`, as `inspect` tells.
    ///
    /// # Panics
    ///
    /// If that does not come about within 10 s.
    pub async fn waiters(&self, key: &str, count: usize) {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let info = self.service.inspect(key).await.expect("the lock can be inspected");
            let waiters = info.map_or(0, |info| info.waiters);
            if waiters == count {
                return;
            }
            assert!(Instant::now() < deadline, "{waiters} wait for {key:?}, not {count}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// What `future` gives. It panics if that takes longer, in real time, than anything that does not wait
/// for a lock.
pub(super) async fn at_once<F: Future>(what: &str, future: F) -> F::Output {
    let timely = tokio::time::timeout(AT_ONCE, future).await;
    timely.unwrap_or_else(|_| panic!("{what} takes longer than {AT_ONCE:?}"))
}

/// Polls `future` once and drops it.
pub(super) async fn poll_once<F: Future>(future: F) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|cx| {
        std::task::Poll::Ready(match future.as_mut().poll(cx) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        })
    })
    .await
}

/// A harness is its own future, so that a factory need not be async.
impl IntoFuture for LockHarness {
    type Output = Self;
    type IntoFuture = Ready<Self>;

    fn into_future(self) -> Self::IntoFuture {
        ready(self)
    }
}

impl fmt::Debug for LockHarness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockHarness")
            .field("service", &self.service)
            .field("clock", &self.clock)
            .finish_non_exhaustive()
    }
}

/// Runs one behaviour on a backend from `factory`, in a runtime of its own; does nothing if the
/// backend does not declare what it `needs`.
///
/// # Panics
///
/// If the behaviour does, or does not end within a minute.
pub fn run_lock_behaviour<M, B>(
    declared: LockCapabilities,
    needs: LockCapability,
    factory: impl FnOnce() -> M,
    behaviour: impl FnOnce(LockHarness) -> B,
) where
    M: IntoFuture<Output = LockHarness>,
    B: Future<Output = ()>,
{
    if !declared.has(needs) {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime can be made");
    runtime.block_on(async {
        let run = async { behaviour(LockHarness { declared, ..factory().await }).await };
        tokio::time::timeout(HANGS_AFTER, run).await.expect("the behaviour ends");
    });
}
