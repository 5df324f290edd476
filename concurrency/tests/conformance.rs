//! The family's lock suite on this crate's backend, behind each kind of handle; and proof that
//! the suite fails where it should.

use std::sync::Arc;

use cache_concurrency::LocalConcurrencyService;
use cache_core::{ConcurrencyService, ManualClock};
use cache_testkit::concurrency_suite::LockHarness;

fn manual() -> (LocalConcurrencyService, ManualClock) {
    let clock = ManualClock::new();
    (LocalConcurrencyService::builder().clock(&clock).build(), clock)
}

mod local {
    fn harness() -> super::LockHarness {
        let (locks, clock) = super::manual();
        super::LockHarness::new(locks).with_clock(clock)
    }

    cache_testkit::concurrency_conformance!(harness);
}

/// As a backend without a manual clock runs it: a few leases of 400 ms pass in real time.
mod real_time {
    cache_testkit::concurrency_conformance!(|| async {
        super::LockHarness::new(super::LocalConcurrencyService::new())
    });
}

mod arc_dyn {
    cache_testkit::concurrency_conformance!(|| async {
        let (locks, clock) = super::manual();
        let locks: super::Arc<dyn super::ConcurrencyService> = super::Arc::new(locks);
        super::LockHarness::new(locks).with_clock(clock)
    });
}

mod box_dyn {
    cache_testkit::concurrency_conformance!(|| async {
        let (locks, clock) = super::manual();
        let locks: Box<dyn super::ConcurrencyService> = Box::new(locks);
        super::LockHarness::new(locks).with_clock(clock).with_key_prefix("prefix:")
    });
}

/// The suite on backends that are wrong on purpose.
mod suite_can_fail {
    #![allow(clippy::unwrap_used, reason = "test code, also outside of test functions")]

    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use async_trait::async_trait;
    use cache_core::{
        FencingToken, LockError, LockErrorKind, LockGuard, LockInfo, LockLease, LockOptions,
        LockRelease, LockReleasing, Timestamp,
    };
    use cache_testkit::concurrency_suite::{
        LockCapabilities, LockCapability, p4_09_the_releaser_does_not_overtake,
        p4_16_the_next_takes_over_and_the_late_release_spares_it, run_lock_behaviour,
        tokens_increase_with_every_grant,
    };

    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Fault {
        None,
        /// Who waits tries again and again instead of queueing.
        Barging,
        /// A release frees the key, whoever holds it by then.
        ReleaseByKey,
        /// Every grant has the same token.
        RepeatedToken,
    }

    #[derive(Clone, Debug)]
    struct Broken {
        fault: Fault,
        inner: LocalConcurrencyService,
        clock: ManualClock,
        waiting: Arc<AtomicUsize>,
    }

    impl Broken {
        fn harness(fault: Fault) -> LockHarness {
            let (inner, clock) = manual();
            let waiting = Arc::default();
            LockHarness::new(Self { fault, inner, clock: clock.clone(), waiting }).with_clock(clock)
        }

        /// The guard as the fault would have it.
        fn guard(&self, inner: LockGuard, options: &LockOptions) -> LockGuard {
            let token = match self.fault {
                Fault::RepeatedToken => FencingToken(7),
                _ => inner.fencing_token(),
            };
            let until = self.clock.now() + options.lease_duration();
            let clock = self.clock.clock();
            let lease = LockLease::new(inner.key().into(), token, &clock, until, Timestamp::MAX);
            LockGuard::new(
                lease,
                Arc::new(Release { inner: Mutex::new(Some(inner)), of: self.clone() }),
            )
        }
    }

    struct Release {
        inner: Mutex<Option<LockGuard>>,
        of: Broken,
    }

    impl LockRelease for Release {
        fn release(&self, lease: &LockLease) -> LockReleasing {
            let guard = self.inner.lock().unwrap().take().unwrap();
            let (locks, key) = (self.of.inner.clone(), lease.key().to_owned());
            let by_key = self.of.fault == Fault::ReleaseByKey;
            LockReleasing::Pending(Box::pin(async move {
                if !by_key {
                    return guard.release().await;
                }
                if let Some(info) = locks.inspect(&key).await? {
                    locks.force_release(&key, info.fencing_token).await?;
                }
                Ok(())
            }))
        }
    }

    #[async_trait]
    impl ConcurrencyService for Broken {
        async fn acquire(&self, key: &str, options: &LockOptions) -> Result<LockGuard, LockError> {
            if self.fault != Fault::Barging {
                let guard = self.inner.acquire(key, options).await?;
                return Ok(self.guard(guard, options));
            }
            self.waiting.fetch_add(1, SeqCst);
            let deadline = self.clock.now() + options.wait_duration();
            let guard = loop {
                match self.inner.try_acquire(key, options).await? {
                    None if self.clock.now() < deadline => tokio::task::yield_now().await,
                    tried => break tried,
                }
            };
            self.waiting.fetch_sub(1, SeqCst);
            let timeout = || LockError::new(LockErrorKind::Timeout, "held by another");
            guard.map(|guard| self.guard(guard, options)).ok_or_else(timeout)
        }

        async fn try_acquire(
            &self,
            key: &str,
            options: &LockOptions,
        ) -> Result<Option<LockGuard>, LockError> {
            let guard = self.inner.try_acquire(key, options).await?;
            Ok(guard.map(|guard| self.guard(guard, options)))
        }

        async fn inspect(&self, key: &str) -> Result<Option<LockInfo>, LockError> {
            let mut info = self.inner.inspect(key).await?;
            if let Some(info) = &mut info {
                info.waiters += self.waiting.load(SeqCst);
            }
            Ok(info)
        }

        async fn force_release(&self, key: &str, token: FencingToken) -> Result<bool, LockError> {
            self.inner.force_release(key, token).await
        }

        async fn shutdown(&self) {
            self.inner.shutdown().await;
        }
    }

    /// What `behaviour` complains about, if it fails.
    fn complaint<B: Future<Output = ()>>(
        fault: Fault,
        behaviour: impl FnOnce(LockHarness) -> B,
    ) -> Option<String> {
        let run = || {
            let factory = || async { Broken::harness(fault) };
            run_lock_behaviour(
                LockCapabilities::ALL,
                LockCapability::Exclusion,
                factory,
                behaviour,
            );
        };
        let payload = catch_unwind(AssertUnwindSafe(run)).err()?;
        let said = payload.downcast_ref::<String>().cloned();
        said.or_else(|| payload.downcast_ref::<&str>().map(|said| (*said).to_owned()))
    }

    #[test]
    fn barging_is_found() {
        // Whether the releaser wins the race is up to the scheduler: now and then suffices.
        let behaviour = p4_09_the_releaser_does_not_overtake;
        let found = (0..1000).find_map(|_| complaint(Fault::Barging, behaviour));
        assert!(found.expect("barging is found").contains("overtaken"));
        assert_eq!(complaint(Fault::None, behaviour), None);
    }

    #[test]
    fn a_release_that_hits_the_successor_is_found() {
        let behaviour = p4_16_the_next_takes_over_and_the_late_release_spares_it;
        let found = complaint(Fault::ReleaseByKey, behaviour);
        assert!(found.expect("it is found").contains("still held"));
        assert_eq!(complaint(Fault::None, behaviour), None);
    }

    #[test]
    fn a_repeated_token_is_found() {
        let behaviour = tokens_increase_with_every_grant;
        let found = complaint(Fault::RepeatedToken, behaviour);
        assert!(found.expect("it is found").contains("round 1"));
        assert_eq!(complaint(Fault::None, behaviour), None);
    }
}
