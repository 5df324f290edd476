//! Fencing tokens: they increase, however a lock is taken and however it ends.

use super::LockHarness;

/// Every grant of a key has a larger token than all before, however the lock was taken and given up.
pub async fn tokens_increase_with_every_grant(h: LockHarness) {
    let key = h.key("fence");
    let mut last = None;
    for round in 0..100 {
        // Who was before the one that tries has waited until the lock was given back.
        let by_trying = round % 2 == 1;
        let guard = if by_trying { h.hold_by_trying(&key).await } else { h.hold(&key).await };
        assert!(Some(guard.fencing_token()) > last, "round {round}");
        last = Some(guard.fencing_token());
        if !by_trying {
            guard.release().await.unwrap();
        }
    }
}

/// A lock that nobody waits for is taken away: the next token is larger.
pub async fn tokens_increase_after_a_forced_release(h: LockHarness) {
    let key = h.key("fence taken away");
    let first = h.hold(&key).await.fencing_token();
    let guard = h.hold(&key).await;
    h.increases(first, guard.fencing_token());
    assert!(h.service.force_release(&key, guard.fencing_token()).await.unwrap());
    let next = h.hold(&key).await;
    h.increases(guard.fencing_token(), next.fencing_token());
    next.release().await.unwrap();
}
