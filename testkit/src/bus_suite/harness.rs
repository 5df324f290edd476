//! What the suite needs to know of a bus to test it.

use std::any::Any;
use std::fmt;
use std::future::{Future, IntoFuture, Ready, ready};
use std::sync::Arc;
use std::time::Duration;

use cache_core::InvalidationBus;
use futures_core::future::BoxFuture;

use crate::watchdog;

/// No behaviour takes this long: one that does hangs.
const DEADLINE: Duration = Duration::from_secs(60);

/// Within which a loss is told, unless the harness says otherwise: much more than the family's own need.
const BOUND: Duration = Duration::from_secs(10);

type Shutdown = Box<dyn FnOnce() -> BoxFuture<'static, ()> + Send>;

/// Two ends of one bus, as two nodes of a fleet have them, which nobody else uses. Each test makes its
/// own.
///
/// ```
/// use cache_testkit::{LocalBus, bus_suite::BusHarness};
///
/// fn harness() -> BusHarness {
///     let hub = LocalBus::new(1);
///     let (one, other) = (hub.node(), hub.node());
///     let first = one.clone();
///     BusHarness::new(one, other).shutdown(async move || hub.disconnect(&first))
/// }
/// ```
pub struct BusHarness {
    ends: [Arc<dyn InvalidationBus>; 2],
    shutdown: Option<Shutdown>,
    bound: Duration,
    guards: Vec<Box<dyn Any + Send + Sync>>,
}

impl BusHarness {
    /// A harness of these two ends.
    #[must_use]
    pub fn new(one: Arc<dyn InvalidationBus>, other: Arc<dyn InvalidationBus>) -> Self {
        Self { ends: [one, other], shutdown: None, bound: BOUND, guards: Vec::new() }
    }

    /// What takes the first end off the bus for good: as it returns, it publishes nothing any more.
    #[must_use]
    pub fn shutdown<F, Fut>(self, shutdown: F) -> Self
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        Self { shutdown: Some(Box::new(|| Box::pin(shutdown()))), ..self }
    }

    /// Within which the bus tells of what it has lost: 10 s until told otherwise.
    #[must_use]
    pub fn detection_bound(self, bound: Duration) -> Self {
        Self { bound, ..self }
    }

    /// Keeps `guard` as long as the harness: a server, a runtime.
    #[must_use]
    pub fn keep(mut self, guard: impl Any + Send + Sync) -> Self {
        self.guards.push(Box::new(guard));
        self
    }

    pub(super) fn bound(&self) -> Duration {
        self.bound
    }

    pub(super) fn ends(&self) -> [&Arc<dyn InvalidationBus>; 2] {
        self.ends.each_ref()
    }

    pub(super) fn take_shutdown(&mut self) -> Option<Shutdown> {
        self.shutdown.take()
    }
}

impl fmt::Debug for BusHarness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BusHarness").field("ends", &self.ends).finish_non_exhaustive()
    }
}

/// A harness is its own future, so that a factory need not be async.
impl IntoFuture for BusHarness {
    type Output = Self;
    type IntoFuture = Ready<Self>;

    fn into_future(self) -> Self::IntoFuture {
        ready(self)
    }
}

/// Runs one behaviour on a bus from `factory`, in a runtime of its own.
///
/// # Panics
///
/// If the bus misbehaves, or the behaviour has not ended after 60 s. A thread that blocks ends the
/// process then, with the behaviour's `name` on standard error.
pub fn run_bus_behaviour<M>(
    name: &str,
    factory: impl FnOnce() -> M,
    behaviour: impl AsyncFnOnce(&mut BusHarness),
) where
    M: IntoFuture<Output = BusHarness>,
{
    watchdog::watch(name, DEADLINE, || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime can be made");
        runtime.block_on(async {
            let test = async {
                let mut harness = factory().await;
                behaviour(&mut harness).await;
            };
            let ended = tokio::time::timeout(DEADLINE, test).await;
            assert!(ended.is_ok(), "{name} has not ended after {DEADLINE:?}");
        });
    });
}
