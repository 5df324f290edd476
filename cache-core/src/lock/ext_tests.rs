//! What becomes of a section's value.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;

use super::*;
use crate::{
    FencingToken, LockErrorKind, LockGuard, LockInfo, LockLease, LockRelease, LockReleasing,
    ManualClock,
};

/// Grants everything, and never says how the release of `b` went.
#[derive(Clone, Debug, Default)]
struct Mute(Arc<Mutex<HashMap<String, LockLease>>>);

impl LockRelease for Mute {
    fn release(&self, lease: &LockLease) -> LockReleasing {
        match lease.key() {
            "b" => LockReleasing::Pending(Box::pin(std::future::pending())),
            _ => LockReleasing::Done(Ok(())),
        }
    }
}

#[async_trait]
impl ConcurrencyService for Mute {
    async fn acquire(&self, key: &str, _: &LockOptions) -> Result<LockGuard, LockError> {
        let clock = ManualClock::new();
        let end = clock.now() + Duration::from_secs(60);
        let lease = LockLease::new(key.into(), FencingToken(1), &clock.clock(), end, end);
        self.0.lock().insert(key.to_owned(), lease.clone());
        Ok(LockGuard::new(lease, Arc::new(self.clone())))
    }

    async fn try_acquire(
        &self,
        key: &str,
        options: &LockOptions,
    ) -> Result<Option<LockGuard>, LockError> {
        self.acquire(key, options).await.map(Some)
    }

    async fn inspect(&self, _: &str) -> Result<Option<LockInfo>, LockError> {
        Ok(None)
    }

    async fn list(&self, _: usize) -> Result<Vec<LockInfo>, LockError> {
        Ok(Vec::new())
    }

    async fn force_release(&self, key: &str, _: FencingToken) -> Result<bool, LockError> {
        let held = self.0.lock().get(key).cloned();
        Ok(held.is_some_and(|lease| lease.revoke(LockErrorKind::LeaseLost)))
    }

    async fn shutdown(&self) {}
}

#[test]
fn what_a_section_under_several_locks_returned_is_not_lost_with_one_of_them() {
    let mut cx = Context::from_waker(Waker::noop());
    for (ends, lost) in [(true, "a"), (false, "a"), (false, "b")] {
        let (locks, open) = (Mute::default(), AtomicBool::new(ends));
        let section = std::future::poll_fn(|_| match open.load(SeqCst) {
            true => Poll::Ready(7),
            false => Poll::Pending,
        });
        let mut call = pin!(locks.with_locks(&["b", "a"], section));
        // It has ended, and what is under way is the release of `b`; or it has not.
        assert!(call.as_mut().poll(&mut cx).is_pending());
        let mut force = pin!(locks.force_release(lost, FencingToken(1)));
        assert!(matches!(force.as_mut().poll(&mut cx), Poll::Ready(Ok(true))));
        open.store(true, SeqCst);
        let Poll::Ready(outcome) = call.as_mut().poll(&mut cx) else { panic!("it waits") };
        match outcome {
            Ok(value) => assert!(ends && value == 7, "{lost} was lost before its end"),
            Err(error) => {
                assert_eq!(error.kind(), LockErrorKind::LeaseLost);
                assert!(!ends, "it had returned a value before {lost} was lost");
            }
        }
    }
}
