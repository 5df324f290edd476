//! Waiting: order, bounds, giving up.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cache_core::{ConcurrencyServiceExt, LockErrorKind, LockOptions};

use super::LockHarness;
use super::harness::at_once;

/// A lock that stays held: the wait ends when it should, and nothing is left in the queue.
pub async fn p4_03_waiting_is_bounded(h: LockHarness) {
    let (key, wait) = (h.key("bounded"), Duration::from_millis(200));
    let guard = h.hold(&key).await;
    let began = Instant::now();
    let (h2, key2) = (h.clone(), key.clone());
    let waiter = tokio::spawn(async move {
        h2.service.acquire(&key2, &LockOptions::default().wait(wait)).await.map(drop)
    });
    h.waiters(&key, 1).await;
    assert!(!waiter.is_finished());
    h.pass(wait).await;
    let error = at_once("the end of a wait that is over", waiter).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), LockErrorKind::Timeout);
    assert_eq!(error.key(), Some(&*key));
    assert!(h.clock.is_some() || began.elapsed() >= wait, "gave up early");
    h.waiters(&key, 0).await;
    guard.release().await.unwrap();
}

/// `wait(0)` is one try: a free lock is taken, a held one is a timeout at once.
pub async fn p4_03_a_wait_of_zero_tries_once(h: LockHarness) {
    let key = h.key("zero");
    let options = LockOptions::default().wait(Duration::ZERO);
    let guard = h.service.acquire(&key, &options).await.unwrap();
    let error = at_once("a wait of zero", h.service.acquire(&key, &options)).await.unwrap_err();
    assert_eq!(error.kind(), LockErrorKind::Timeout);
    guard.release().await.unwrap();
}

/// A waiter that is dropped leaves the queue, and the one behind it moves up.
pub async fn p4_04_a_cancelled_waiter_leaves_the_queue(h: LockHarness) {
    let key = h.key("cancelled");
    let guard = h.hold(&key).await;
    let wait = || {
        let (h, key) = (h.clone(), key.clone());
        tokio::spawn(async move { h.hold(&key).await.fencing_token() })
    };
    let first = wait();
    h.waiters(&key, 1).await;
    let second = wait();
    h.waiters(&key, 2).await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    h.waiters(&key, 1).await;
    let token = guard.fencing_token();
    guard.release().await.unwrap();
    h.increases(token, second.await.unwrap());
}

/// A waiter that is dropped when it has been granted the lock, and does not know: the lock passes on,
/// long before its lease would end.
pub async fn p4_04_a_grant_that_nobody_takes_passes_on(h: LockHarness) {
    let key = h.key("granted to nobody");
    let options = LockOptions::default();
    for waits_behind in [false, true] {
        let guard = h.hold(&key).await;
        let mut waiter = Box::pin(h.service.acquire(&key, &options));
        tokio::select! {
            biased;
            taken = &mut waiter => panic!("it is held, and {taken:?}"),
            () = h.waiters(&key, 1) => {}
        }
        let next = waits_behind.then(|| {
            let (h, key) = (h.clone(), key.clone());
            tokio::spawn(async move { drop(h.hold(&key).await) })
        });
        h.waiters(&key, 1 + usize::from(waits_behind)).await;
        guard.release().await.unwrap();
        // Not polled since.
        drop(waiter);
        if let Some(next) = next {
            at_once("what the next waits for", next).await.unwrap();
        }
        h.hold_by_trying(&key).await.release().await.unwrap();
    }
}

/// Waiters get the lock in the order in which they came.
pub async fn p4_08_locks_are_granted_in_order_of_arrival(h: LockHarness) {
    let key = h.key("order");
    let guard = h.hold(&key).await;
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut waiters = Vec::new();
    for n in 0..10 {
        let (h2, key2, order) = (h.clone(), key.clone(), Arc::clone(&order));
        waiters.push(tokio::spawn(async move {
            h2.service.with_lock(&key2, async { order.lock().unwrap().push(n) }).await.unwrap();
        }));
        h.waiters(&key, n + 1).await;
    }
    guard.release().await.unwrap();
    for waiter in waiters {
        waiter.await.unwrap();
    }
    assert!(order.lock().unwrap().is_sorted(), "{order:?}");
}

/// Who has just released waits behind those who waited, also when it only tries.
pub async fn p4_09_the_releaser_does_not_overtake(h: LockHarness) {
    let key = h.key("barging");
    let guard = h.hold(&key).await;
    let (h2, key2) = (h.clone(), key.clone());
    let waiter = tokio::spawn(async move { h2.hold(&key2).await });
    h.waiters(&key, 1).await;
    guard.release().await.unwrap();
    // The waiter may not have been polled yet. It has the lock all the same, for as long as
    // its guard lives.
    let tried = h.service.try_acquire(&key, &LockOptions::default()).await.unwrap();
    assert!(tried.is_none(), "overtaken");
    let zero = LockOptions::default().wait(Duration::ZERO);
    assert!(h.service.acquire(&key, &zero).await.is_err(), "overtaken");
    let first = waiter.await.unwrap();
    let first_token = first.fencing_token();
    first.release().await.unwrap();
    h.increases(first_token, h.hold(&key).await.fencing_token());
}
