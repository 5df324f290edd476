//! What an operator does: look, take away, shut down.

use std::time::Duration;

use cache_core::{FencingToken, LockErrorKind, LockGuard, LockInfo, LockOptions};

use super::{LockCapability, LockHarness};

/// `inspect` names the holder, its token and its time, and counts those who wait.
pub async fn inspect_tells_who_holds_and_how_many_wait(h: LockHarness) {
    let key = h.key("inspect");
    assert!(h.service.inspect(&key).await.unwrap().is_none());
    let lease = Duration::from_secs(20);
    let guard = h.service.acquire(&key, &LockOptions::default().lease(lease)).await.unwrap();
    let (h2, key2) = (h.clone(), key.clone());
    let waiter = tokio::spawn(async move { drop(h2.hold(&key2).await) });
    h.waiters(&key, 1).await;
    h.pass(Duration::from_millis(20)).await;
    let info = h.service.inspect(&key).await.unwrap().expect("it is held");
    assert_eq!((&*info.key, info.waiters), (&*key, 1));
    assert_eq!(info.fencing_token, guard.fencing_token());
    assert!(!info.holder.is_empty());
    assert!(info.remaining > Duration::ZERO, "{info:?}");
    assert!(info.remaining <= lease || !h.declares(LockCapability::Leases), "{info:?}");
    assert!(info.held_for >= Duration::from_millis(20), "{info:?}");
    guard.release().await.unwrap();
    waiter.await.unwrap();
}

/// Keys that no lock can have are refused by `inspect`.
pub async fn inspect_refuses_keys_that_no_lock_has(h: LockHarness) {
    for key in ["", &"x".repeat(1025)] {
        let error = h.service.inspect(key).await.unwrap_err();
        assert_eq!(error.kind(), LockErrorKind::InvalidKey);
    }
}

/// Likewise by `force_release`.
pub async fn force_release_refuses_keys_that_no_lock_has(h: LockHarness) {
    for key in ["", &"x".repeat(1025)] {
        let error = h.service.force_release(key, FencingToken(1)).await.unwrap_err();
        assert_eq!(error.kind(), LockErrorKind::InvalidKey);
    }
}

/// `list` names what is held, no more than is asked for, and nothing at rest.
pub async fn list_names_what_is_held(h: LockHarness) {
    let mut keys = ["list", "list of another", "list:ä%41*"].map(|name| h.key(name)).to_vec();
    keys.sort();
    let listed = async |limit| {
        let mut found = h.service.list(limit).await.unwrap();
        found.retain(|info| keys.contains(&info.key));
        found.sort_by(|a, b| a.key.cmp(&b.key));
        found
    };
    assert_eq!(listed(usize::MAX).await, []);
    let mut guards = Vec::new();
    for key in &keys {
        guards.push(h.hold(key).await);
    }
    let found = listed(usize::MAX).await;
    let held = |info: &LockInfo| (info.key.clone(), info.fencing_token);
    let expected = keys.iter().cloned().zip(guards.iter().map(LockGuard::fencing_token));
    assert_eq!(found.iter().map(held).collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    assert!(h.service.list(2).await.unwrap().len() <= 2);
    for guard in guards {
        guard.release().await.unwrap();
    }
    assert_eq!(listed(usize::MAX).await, []);
}

/// `force_release` frees a lock that nobody waits for, and its holder has lost it.
pub async fn force_release_frees_the_lock(h: LockHarness) {
    let key = h.key("freed");
    let guard = h.hold(&key).await;
    assert!(h.service.force_release(&key, guard.fencing_token()).await.unwrap());
    assert_eq!(guard.lost().await.kind(), LockErrorKind::LeaseLost);
    let next = h.hold(&key).await;
    assert_eq!(guard.release().await.unwrap_err().kind(), LockErrorKind::LeaseLost);
    next.check().unwrap();
    next.release().await.unwrap();
}

/// `force_release` with a stale token does nothing; with the right one the holder has lost its
/// lease before the next one has it.
pub async fn force_release_hits_only_the_holder_it_names(h: LockHarness) {
    let key = h.key("force");
    assert!(!h.service.force_release(&key, FencingToken(1)).await.unwrap(), "nobody holds it");
    let stale = h.hold(&key).await.fencing_token();
    let guard = h.hold(&key).await;
    assert!(!h.service.force_release(&key, stale).await.unwrap());
    guard.check().unwrap();

    let (h2, key2) = (h.clone(), key.clone());
    let waiter = tokio::spawn(async move { h2.hold(&key2).await });
    h.waiters(&key, 1).await;
    let token = guard.fencing_token();
    assert!(h.service.force_release(&key, token).await.unwrap());
    let next = waiter.await.unwrap();
    // Where holder and operator are different processes, the holder hears of it in time.
    assert_eq!(guard.lost().await.kind(), LockErrorKind::LeaseLost);
    assert_eq!(guard.release().await.unwrap_err().kind(), LockErrorKind::LeaseLost);
    next.check().unwrap();
    assert!(!h.service.force_release(&key, token).await.unwrap(), "that holder is gone");
    next.release().await.unwrap();
}

/// After `shutdown` nobody gets a lock, who waited is told, and who holds one finishes.
pub async fn shutdown_turns_waiters_and_newcomers_away(h: LockHarness) {
    let key = h.key("shutdown");
    let guard = h.hold(&key).await;
    let (h2, key2) = (h.clone(), key.clone());
    let waiter =
        tokio::spawn(
            async move { h2.service.acquire(&key2, &LockOptions::default()).await.map(drop) },
        );
    h.waiters(&key, 1).await;
    h.service.shutdown().await;
    h.service.shutdown().await;
    let options = LockOptions::default();
    let errors = [
        waiter.await.unwrap().unwrap_err(),
        h.service.acquire(&h.key("new"), &options).await.unwrap_err(),
        h.service.try_acquire(&h.key("new"), &options).await.unwrap_err(),
    ];
    assert!(errors.iter().all(|error| error.kind() == LockErrorKind::Unavailable), "{errors:?}");
    guard.check().unwrap();
    guard.release().await.unwrap();
}
