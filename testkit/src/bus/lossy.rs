//! Any bus, with faults on top.

use std::any::Any;
use std::sync::Arc;

use async_trait::async_trait;
use cache_core::{BusDeadline, BusEvent, CacheError, Clock, InvalidationBus, Selector};
use fastrand::Rng;
use futures_core::stream::BoxStream;
use futures_util::{StreamExt, stream};
use parking_lot::Mutex;

use super::faults::BusFaults;
use super::line::Line;

/// A bus whose subscribers hear another one's messages late, twice, out of order or not at all.
/// What is published passes unharmed. Over a bus of one process, [`LocalBus::lossy`] does the same.
///
/// The inner bus is followed only while the stream is polled.
///
/// ```
/// use cache_core::{Clock, InvalidationBus};
/// use cache_testkit::{BusFaults, LossyBus};
/// use std::sync::Arc;
///
/// fn every_tenth_lost(bus: Arc<dyn InvalidationBus>, seed: u64) -> Arc<dyn InvalidationBus> {
///     Arc::new(LossyBus::new(bus, seed, BusFaults::none().lose(0.1), Clock::system()))
/// }
/// ```
///
/// [`LocalBus::lossy`]: crate::LocalBus::lossy
#[derive(Debug)]
pub struct LossyBus {
    inner: Arc<dyn InvalidationBus>,
    clock: Clock,
    faults: Arc<Mutex<BusFaults>>,
    rng: Mutex<Rng>,
}

impl LossyBus {
    /// `inner` with these faults, whose delays and outages go by `clock`.
    #[must_use]
    pub fn new(
        inner: Arc<dyn InvalidationBus>,
        seed: u64,
        faults: BusFaults,
        clock: impl Into<Clock>,
    ) -> Self {
        let faults = Arc::new(Mutex::new(faults));
        Self { inner, clock: clock.into(), faults, rng: Mutex::new(Rng::with_seed(seed)) }
    }

    /// Sets what goes wrong from now on. What is on its way stays so.
    pub fn set_faults(&self, faults: BusFaults) {
        *self.faults.lock() = faults;
    }

    /// Ends all faults. What is on its way stays so.
    pub fn heal(&self) {
        self.set_faults(BusFaults::none());
    }
}

#[async_trait]
impl InvalidationBus for LossyBus {
    async fn publish(&self, what: &Selector) -> Result<(), CacheError> {
        self.inner.publish(what).await
    }

    fn subscribe(&self) -> BoxStream<'static, BusEvent> {
        self.follow(self.inner.subscribe())
    }

    /// The deadline is that of the inner bus, which knows nothing of the faults here.
    fn subscribe_until(&self, deadline: &BusDeadline) -> BoxStream<'static, BusEvent> {
        self.follow(self.inner.subscribe_until(deadline))
    }

    /// The inner bus: what is published passes unharmed, so a store that knows it tells over it.
    fn as_any(&self) -> Option<&dyn Any> {
        self.inner.as_any()
    }
}

impl LossyBus {
    fn follow(&self, inner: BoxStream<'static, BusEvent>) -> BoxStream<'static, BusEvent> {
        let rng = self.rng.lock().fork();
        let line = Line::new(self.clock.clone(), Arc::clone(&self.faults), rng);
        let subscription = (inner, line);
        Box::pin(stream::unfold(subscription, |(mut inner, line)| async move {
            loop {
                tokio::select! {
                    biased;
                    event = line.next() => return Some((event?, (inner, line))),
                    event = inner.next() => match event {
                        Some(BusEvent::Connected) => line.connect_anew(),
                        Some(BusEvent::Disconnected) => line.cut(),
                        Some(event) => line.send(&event),
                        None => {
                            line.close();
                            inner = Box::pin(stream::pending());
                        }
                    },
                }
            }
        }))
    }
}
