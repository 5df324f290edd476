//! `refresh_once`: many need it, one makes it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use cache_core::{ConcurrencyServiceExt, HeldLock, LockErrorKind, LockOptions};
use futures_util::future::join_all;

use super::{LockCapability, LockHarness};

/// What is to be fresh, and how often it was made.
#[derive(Clone, Default)]
struct Token(Arc<(AtomicU64, AtomicU64)>);

impl Token {
    async fn if_fresh(&self) -> Option<Result<u64, String>> {
        tokio::task::yield_now().await;
        Some(self.0.0.load(SeqCst)).filter(|token| *token > 0).map(Ok)
    }

    /// Fails for the first `failures` times.
    async fn refresh(&self, failures: u64) -> Result<u64, String> {
        let made = self.0.1.fetch_add(1, SeqCst) + 1;
        tokio::task::yield_now().await;
        if made <= failures {
            return Err(format!("attempt {made} failed"));
        }
        self.0.0.store(made, SeqCst);
        Ok(made)
    }

    fn made(&self) -> u64 {
        self.0.1.load(SeqCst)
    }
}

async fn callers(h: &LockHarness, key: &str, token: &Token, failures: u64) -> Vec<Option<u64>> {
    let call = |_| async {
        let is_fresh = || token.if_fresh();
        let refresh = |_held| token.refresh(failures);
        h.service.refresh_once(key, is_fresh, refresh).await.unwrap().ok()
    };
    join_all((0..20).map(call)).await
}

/// Twenty callers find it out of date: one refreshes, all have it.
pub async fn refresh_once_refreshes_once(h: LockHarness) {
    let (key, token) = (h.key("token"), Token::default());
    assert_eq!(callers(&h, &key, &token, 0).await, [Some(1); 20]);
    assert_eq!(token.made(), 1);
}

/// A refresh that fails is its caller's error; the next in line tries.
pub async fn refresh_once_leaves_a_failed_refresh_to_the_next(h: LockHarness) {
    let (key, token) = (h.key("token"), Token::default());
    let found = callers(&h, &key, &token, 2).await;
    assert_eq!(found.iter().filter(|found| found.is_none()).count(), 2);
    assert!(found.iter().flatten().all(|token| *token == 3), "{found:?}");
    assert_eq!(token.made(), 3);
}

/// Its options are those of its lock.
pub async fn refresh_once_waits_and_holds_as_its_options_say(h: LockHarness) {
    let key = h.key("token");
    let guard = h.hold(&key).await;
    let at_once = LockOptions::default().wait(Duration::ZERO);
    let refused = h.service.refresh_once_opts(&key, &at_once, stale, |_| async { 7 }).await;
    assert_eq!(refused.unwrap_err().kind(), LockErrorKind::Timeout);
    guard.release().await.unwrap();
    let long = LockOptions::default().lease(Duration::from_secs(90)).renew(false);
    let refresh = |held: HeldLock| async move { held.remaining().as_secs() };
    let remaining = h.service.refresh_once_opts(&key, &long, stale, refresh).await.unwrap();
    let leases = h.declares(LockCapability::Leases);
    assert!((60..=90).contains(&remaining) || !leases, "{remaining} s");
}

async fn stale() -> Option<u64> {
    None
}

/// What is fresh is taken although the lock is held.
pub async fn refresh_once_takes_what_is_fresh_without_the_lock(h: LockHarness) {
    let (key, token) = (h.key("token"), Token::default());
    token.refresh(0).await.unwrap();
    let guard = h.hold(&key).await;
    let found = h.service.refresh_once(&key, || token.if_fresh(), |_| token.refresh(0)).await;
    assert_eq!(found.unwrap(), Ok(1));
    guard.release().await.unwrap();
}

/// What is not fresh is no reason to go without the lock where there is none to be had.
pub async fn refresh_once_refreshes_nothing_without_the_lock(h: LockHarness) {
    let key = h.key("token");
    h.service.shutdown().await;
    let error = h.service.refresh_once(&key, stale, |_| async { 7 }).await.unwrap_err();
    assert_eq!(error.kind(), LockErrorKind::Unavailable);
}
