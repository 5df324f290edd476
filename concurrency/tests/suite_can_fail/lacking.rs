//! Lock services that are without a part of the contract, and say so: the suite asks nothing of it.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use cache_concurrency::LocalConcurrencyService;
use cache_core::{
    ConcurrencyService, FencingToken, LockError, LockErrorKind, LockGuard, LockInfo, LockLease,
    LockOptions, LockRelease, LockReleasing, ManualClock,
};
use cache_testkit::concurrency_suite::LockCapability::{
    Fencing, Fifo, ForceRelease, Inspect, Leases, List, Shutdown,
};
use cache_testkit::concurrency_suite::{LockCapabilities, LockCapability, LockHarness};

const TOKEN: FencingToken = FencingToken(7);

/// It does what it says, and nothing else.
#[derive(Clone, Debug)]
struct Lacking {
    has: LockCapabilities,
    inner: LocalConcurrencyService,
    clock: ManualClock,
    waiting: Arc<AtomicUsize>,
}

fn harness(has: LockCapabilities) -> LockHarness {
    let clock = ManualClock::new();
    let inner = LocalConcurrencyService::builder().clock(&clock).build();
    let locks = Lacking { has, inner, clock: clock.clone(), waiting: Arc::default() };
    LockHarness::new(locks).with_clock(clock)
}

/// Behind a guard whose token says nothing.
struct Behind(Mutex<Option<LockGuard>>);

impl LockRelease for Behind {
    fn release(&self, _: &LockLease) -> LockReleasing {
        let guard = self.0.lock().unwrap().take().unwrap();
        LockReleasing::Pending(Box::pin(guard.release()))
    }
}

/// Counts somebody who waits, and is not in the queue.
struct Waits(Arc<AtomicUsize>);

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

impl Lacking {
    fn needs(&self, capability: LockCapability) -> Result<(), LockError> {
        match self.has.has(capability) {
            true => Ok(()),
            false => Err(LockError::new(LockErrorKind::Unavailable, "not here")),
        }
    }

    fn options(&self, options: &LockOptions) -> Result<LockOptions, LockError> {
        options.validate()?;
        let endless = || options.clone().lease(Duration::MAX).max_hold(Duration::MAX);
        Ok(if self.has.has(Leases) { options.clone() } else { endless() })
    }

    fn guard(&self, guard: LockGuard, options: &LockOptions) -> LockGuard {
        if self.has.has(Fencing) {
            return guard;
        }
        let (lease, longest) = (options.lease_duration(), options.max_hold_duration());
        let valid = if options.renews() { longest } else { lease };
        let (now, clock) = (self.clock.now(), self.clock.clock());
        let key = guard.key().to_owned();
        let cell = LockLease::with_span(&key, TOKEN, &clock, now + valid, now + longest, lease);
        LockGuard::new(cell, Arc::new(Behind(Mutex::new(Some(guard)))))
    }

    fn shown(&self, mut info: LockInfo) -> LockInfo {
        info.waiters += self.waiting.load(SeqCst);
        if !self.has.has(Fencing) {
            info.fencing_token = TOKEN;
        }
        info
    }
}

#[async_trait]
impl ConcurrencyService for Lacking {
    async fn acquire(&self, key: &str, options: &LockOptions) -> Result<LockGuard, LockError> {
        let options = &self.options(options)?;
        if self.has.has(Fifo) {
            return Ok(self.guard(self.inner.acquire(key, options).await?, options));
        }
        self.waiting.fetch_add(1, SeqCst);
        let _waits = Waits(Arc::clone(&self.waiting));
        let deadline = self.clock.now() + options.wait_duration();
        loop {
            match self.inner.try_acquire(key, options).await? {
                Some(guard) => return Ok(self.guard(guard, options)),
                None if self.clock.now() < deadline => tokio::task::yield_now().await,
                None => {
                    let error = LockError::new(LockErrorKind::Timeout, "held by another");
                    return Err(error.with_key(key));
                }
            }
        }
    }

    async fn try_acquire(
        &self,
        key: &str,
        options: &LockOptions,
    ) -> Result<Option<LockGuard>, LockError> {
        let options = &self.options(options)?;
        let guard = self.inner.try_acquire(key, options).await?;
        Ok(guard.map(|guard| self.guard(guard, options)))
    }

    async fn inspect(&self, key: &str) -> Result<Option<LockInfo>, LockError> {
        self.needs(Inspect)?;
        Ok(self.inner.inspect(key).await?.map(|info| self.shown(info)))
    }

    async fn list(&self, limit: usize) -> Result<Vec<LockInfo>, LockError> {
        self.needs(List)?;
        let found = self.inner.list(limit).await?;
        Ok(found.into_iter().map(|info| self.shown(info)).collect())
    }

    async fn force_release(&self, key: &str, token: FencingToken) -> Result<bool, LockError> {
        self.needs(ForceRelease)?;
        self.inner.force_release(key, token).await
    }

    async fn shutdown(&self) {
        if self.has.has(Shutdown) {
            self.inner.shutdown().await;
        }
    }
}

macro_rules! lacking {
    ($($module:ident: $($lacks:ident)+;)+) => {$(
        mod $module {
            use cache_testkit::concurrency_suite::{LockCapabilities, LockCapability};

            const HAS: LockCapabilities =
                LockCapabilities::ALL$(.without(LockCapability::$lacks))+;

            cache_testkit::concurrency_conformance!(|| super::harness(HAS), HAS);
        }
    )+};
}

lacking! {
    inspect: Inspect;
    force_release: ForceRelease;
    shutdown_and_list: Shutdown List;
    // Without tokens to name a holder by, nobody can be named.
    fencing: Fencing ForceRelease;
    fifo: Fifo;
    leases: Leases;
    all_but_exclusion: Fifo Leases Fencing Inspect List ForceRelease Shutdown;
}
