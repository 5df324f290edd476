//! Leases: renewal, their end, takeover.

use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use cache_core::{ConcurrencyServiceExt, LockErrorKind, LockOptions};

use super::{LockCapability, LockHarness};

/// Short enough to wait for in real time, long enough for a busy machine.
const LEASE: Duration = Duration::from_secs(1);

/// A section of five leases with renewal: never lost, never near its end.
pub async fn p4_15_a_renewed_lease_outlasts_a_long_section(h: LockHarness) {
    let (key, h2) = (h.key("renewed"), h.clone());
    let options = LockOptions::default().lease(LEASE).max_hold(20 * LEASE);
    let section = |held: cache_core::HeldLock| async move {
        for _ in 0..10 {
            h2.pass(LEASE / 2).await;
            // Lets whatever renews run, and this section be polled anew.
            tokio::task::yield_now().await;
            let left = held.remaining();
            assert!(left > LEASE / 4 && left <= LEASE, "{left:?}");
            held.check().unwrap();
        }
        "done"
    };
    assert_eq!(h.service.with_lock_opts(&key, &options, section).await.unwrap(), "done");
}

/// A section longer than `max_hold` is stopped there, and never polled afterwards.
pub async fn p4_16_a_section_stops_at_max_hold(h: LockHarness) {
    let (key, h2) = (h.key("max_hold"), h.clone());
    let options = LockOptions::default().lease(LEASE).max_hold(2 * LEASE);
    let went_on = AtomicBool::new(false);
    let section = async {
        h2.pass(2 * LEASE).await;
        tokio::task::yield_now().await;
        went_on.store(true, SeqCst);
        pending::<()>().await;
    };
    let error = h.service.with_lock_opts(&key, &options, |_| section).await.unwrap_err();
    assert_eq!(error.kind(), LockErrorKind::MaxHoldExceeded);
    assert!(!went_on.load(SeqCst), "polled after its lease");
    h.hold(&key).await.release().await.unwrap();
}

/// Without renewal the lock ends with its first lease.
pub async fn p4_16_a_lease_that_is_not_renewed_ends(h: LockHarness) {
    let (key, h2) = (h.key("single"), h.clone());
    let options = LockOptions::default().lease(LEASE).renew(false);
    let section = async {
        h2.pass(LEASE).await;
        pending::<()>().await;
    };
    let error = h.service.with_lock_opts(&key, &options, |_| section).await.unwrap_err();
    assert_eq!(error.kind(), LockErrorKind::LeaseLost);
    assert!(!error.is_retryable(), "part of the section has run");
    h.hold(&key).await.release().await.unwrap();
}

/// A lock whose one lease is as long as it may be held at most, or would be longer, was held for that.
pub async fn p4_16_a_lease_as_long_as_max_hold_ends_as_that(h: LockHarness) {
    for (renew, lease) in [(false, LEASE), (true, LEASE), (false, 60 * LEASE), (true, 60 * LEASE)] {
        let (key, h2) = (h.key(&format!("longest {renew} {lease:?}")), h.clone());
        let options = LockOptions::default().lease(lease).max_hold(LEASE).renew(renew);
        let section = async {
            h2.pass(LEASE).await;
            pending::<()>().await;
        };
        let error = h.service.with_lock_opts(&key, &options, |_| section).await.unwrap_err();
        assert_eq!(error.kind(), LockErrorKind::MaxHoldExceeded, "renewed: {renew}, {lease:?}");
        // Nor does it outlast a holder that is not there to give it back.
        let guard = h.service.acquire(&key, &options).await.unwrap();
        assert!(guard.remaining() <= LEASE);
        guard.release().await.unwrap();
    }
}

/// When a lease ends the head of the queue has the lock; the old guard's release errs and leaves
/// the new holder alone.
pub async fn p4_16_the_next_takes_over_and_the_late_release_spares_it(h: LockHarness) {
    let key = h.key("takeover");
    let options = LockOptions::default().lease(LEASE).renew(false);
    let old = h.service.acquire(&key, &options).await.unwrap();
    let (h2, key2) = (h.clone(), key.clone());
    let waiter = tokio::spawn(async move { h2.hold(&key2).await });
    h.waiters(&key, 1).await;
    h.pass(LEASE).await;
    let new = waiter.await.unwrap();
    h.increases(old.fencing_token(), new.fencing_token());
    assert_eq!(old.check().unwrap_err().kind(), LockErrorKind::LeaseLost);
    assert_eq!(old.release().await.unwrap_err().kind(), LockErrorKind::LeaseLost);
    new.check().unwrap();
    assert!(h.service.try_acquire(&key, &options).await.unwrap().is_none(), "still held");
    new.release().await.unwrap();
}

/// `lost` waits while the lease runs and resolves at its end. Nobody has the lock then, though the
/// guard is still there: it is not shown, and can be had, under a larger token.
pub async fn p4_16_lost_tells_when_the_lease_ends(h: LockHarness) {
    let key = h.key("lost");
    let options = LockOptions::default().lease(LEASE).renew(false);
    let guard = h.service.acquire(&key, &options).await.unwrap();
    let held = guard.held();
    let lost = tokio::spawn(async move { held.lost().await });
    tokio::task::yield_now().await;
    assert!(!lost.is_finished());
    h.pass(LEASE).await;
    assert_eq!(lost.await.unwrap().kind(), LockErrorKind::LeaseLost);
    assert_eq!(guard.lost().await.kind(), LockErrorKind::LeaseLost);
    if h.declares(LockCapability::Inspect) {
        let over = async || h.service.inspect(&key).await.unwrap().is_none();
        assert!(h.comes_about(over).await, "a holder is shown whose lease is over");
    }
    if h.declares(LockCapability::List) {
        let over = async || {
            let found = h.service.list(usize::MAX).await.unwrap();
            found.iter().all(|info| *info.key != *key)
        };
        assert!(h.comes_about(over).await, "a lock is listed whose lease is over");
    }
    let next = h.hold_by_trying(&key).await;
    h.increases(guard.fencing_token(), next.fencing_token());
    assert_eq!(guard.release().await.unwrap_err().kind(), LockErrorKind::LeaseLost);
    next.release().await.unwrap();
}

/// Who has lost its lock renews nobody else's: its successor has it for its own lease, and no longer.
pub async fn p4_15_a_renewal_leaves_the_next_holder_alone(h: LockHarness) {
    let key = h.key("renewed by another");
    let renewed = LockOptions::default().lease(LEASE).max_hold(20 * LEASE);
    let old = h.service.acquire(&key, &renewed).await.unwrap();
    assert!(h.service.force_release(&key, old.fencing_token()).await.unwrap());
    let next = h.service.acquire(&key, &renewed.renew(false)).await.unwrap();
    // Time for a renewal of the one that was before.
    h.pass(LEASE / 2).await;
    tokio::task::yield_now().await;
    if h.declares(LockCapability::Inspect) {
        // On a machine that is busy it may be over by now.
        let shown = h.service.inspect(&key).await.unwrap();
        assert!(shown.is_none_or(|info| info.fencing_token == next.fencing_token()));
    }
    h.pass(LEASE / 2).await;
    assert_eq!(next.lost().await.kind(), LockErrorKind::LeaseLost);
    h.hold_by_trying(&key).await.release().await.unwrap();
    assert_eq!(old.release().await.unwrap_err().kind(), LockErrorKind::LeaseLost);
}
