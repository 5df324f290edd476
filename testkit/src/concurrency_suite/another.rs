//! Two clients of one server: what holds within a process holds between processes. For a backend that has
//! no [other client](LockHarness::with_another) there is nothing to test here.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cache_core::{ConcurrencyServiceExt, LockErrorKind, LockOptions};

use super::LockHarness;
use super::harness::at_once;

/// What the one holds the other cannot have; tasks of both take turns.
pub async fn p4_06_two_clients_exclude_each_other(h: LockHarness) {
    let Some(other) = h.another().await else { return };
    let key = h.key("two clients");
    let options = LockOptions::default();
    for (one, two) in [(&h, &other), (&other, &h)] {
        let guard = one.hold(&key).await;
        let tried = at_once("a try", two.service.try_acquire(&key, &options)).await;
        assert!(tried.unwrap().is_none(), "both hold it");
        guard.release().await.unwrap();
    }
    let (inside, counter) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let tasks: Vec<_> = (0..40)
        .map(|number| {
            let h = if number % 2 == 0 { h.clone() } else { other.clone() };
            let (key, inside, counter) = (key.clone(), Arc::clone(&inside), Arc::clone(&counter));
            tokio::spawn(async move {
                let section = async {
                    assert!(!inside.swap(true, SeqCst), "two sections at once");
                    let seen = counter.load(SeqCst);
                    tokio::task::yield_now().await;
                    counter.store(seen + 1, SeqCst);
                    inside.store(false, SeqCst);
                };
                h.service.with_lock(&key, section).await.unwrap();
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(counter.load(SeqCst), 40);
}

/// Two clients wait for a third in one line, in the order of arrival. One task of each: a client may have its
/// own wait for each other before they join the line.
pub async fn p4_08_two_clients_wait_in_one_line(h: LockHarness) {
    let (Some(other), Some(third)) = (h.another().await, h.another().await) else { return };
    for (round, (holds, first, second)) in
        [(&h, &other, &third), (&other, &third, &h), (&third, &h, &other)].into_iter().enumerate()
    {
        let key = h.key(&format!("one line {round}"));
        let guard = holds.hold(&key).await;
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut waiters = Vec::new();
        for (number, waits) in [first, second].into_iter().enumerate() {
            let (waits, its_key, order) = (waits.clone(), key.clone(), Arc::clone(&order));
            waiters.push(tokio::spawn(async move {
                let section = async { order.lock().unwrap().push(number) };
                waits.service.with_lock(&its_key, section).await.unwrap();
            }));
            h.waiters(&key, number + 1).await;
        }
        guard.release().await.unwrap();
        for waiter in waiters {
            waiter.await.unwrap();
        }
        assert_eq!(*order.lock().unwrap(), [0, 1], "round {round}");
    }
}

/// A release hands the lock to who waits at the other client, before the releaser can have it again.
pub async fn p4_09_a_client_does_not_overtake_another(h: LockHarness) {
    let Some(other) = h.another().await else { return };
    let key = h.key("two clients, barging");
    let guard = h.hold(&key).await;
    let (waits, its_key) = (other.clone(), key.clone());
    let waiter = tokio::spawn(async move { waits.hold(&its_key).await });
    h.waiters(&key, 1).await;
    guard.release().await.unwrap();
    let tried = h.service.try_acquire(&key, &LockOptions::default()).await.unwrap();
    assert!(tried.is_none(), "overtaken");
    waiter.await.unwrap().release().await.unwrap();
}

/// A waiter that is dropped leaves the line in which the other client waits.
pub async fn p4_04_a_cancelled_waiter_is_gone_for_another_client(h: LockHarness) {
    let Some(other) = h.another().await else { return };
    let key = h.key("two clients, cancelled");
    let guard = h.hold(&key).await;
    let (waits, its_key) = (other.clone(), key.clone());
    let waiter = tokio::spawn(async move { drop(waits.hold(&its_key).await) });
    h.waiters(&key, 1).await;
    waiter.abort();
    assert!(waiter.await.unwrap_err().is_cancelled());
    h.waiters(&key, 0).await;
    guard.release().await.unwrap();
    h.hold_by_trying(&key).await.release().await.unwrap();
}

/// Tokens increase from one client's grant to the other's.
pub async fn tokens_increase_from_client_to_client(h: LockHarness) {
    let Some(other) = h.another().await else { return };
    let key = h.key("two clients, one fence");
    let mut last = None;
    for round in 0..20 {
        let h = if round % 2 == 0 { &h } else { &other };
        let guard = if round % 4 < 2 { h.hold(&key).await } else { h.hold_by_trying(&key).await };
        assert!(Some(guard.fencing_token()) > last, "round {round}");
        last = Some(guard.fencing_token());
        guard.release().await.unwrap();
    }
}

/// Each sees what the other holds.
pub async fn inspect_tells_of_another_client(h: LockHarness) {
    let Some(other) = h.another().await else { return };
    let key = h.key("two clients, inspected");
    let guard = h.hold(&key).await;
    let info = other.service.inspect(&key).await.unwrap().expect("it is held");
    assert_eq!((&*info.key, info.fencing_token), (&*key, guard.fencing_token()));
    guard.release().await.unwrap();
    assert!(other.service.inspect(&key).await.unwrap().is_none());
}

/// A lease that ends is over for the other client.
pub async fn p4_27_a_lease_ends_for_another_client(h: LockHarness) {
    const LEASE: Duration = Duration::from_secs(1);
    let Some(other) = h.another().await else { return };
    let key = h.key("two clients, over");
    let options = LockOptions::default().lease(LEASE).renew(false);
    let old = h.service.acquire(&key, &options).await.unwrap();
    h.pass(LEASE).await;
    let new = other.hold_by_trying(&key).await;
    assert_eq!(old.release().await.unwrap_err().kind(), LockErrorKind::LeaseLost);
    new.check().unwrap();
    assert!(h.service.try_acquire(&key, &options).await.unwrap().is_none(), "still held");
    new.release().await.unwrap();
}

/// `force_release` takes a lock from a holder of the other client, who hears of it in time, and gives it
/// to who waits.
pub async fn force_release_reaches_another_client(h: LockHarness) {
    const LEASE: Duration = Duration::from_secs(2);
    let Some(other) = h.another().await else { return };
    let key = h.key("two clients, force");
    let options = LockOptions::default().lease(LEASE).max_hold(20 * LEASE);
    let guard = h.service.acquire(&key, &options).await.unwrap();
    assert!(other.service.force_release(&key, guard.fencing_token()).await.unwrap());
    let next = other.hold_by_trying(&key).await;
    assert!(h.comes_about(async || guard.check().is_err()).await, "it does not hear of it");
    assert_eq!(guard.check().unwrap_err().kind(), LockErrorKind::LeaseLost);
    next.check().unwrap();
    assert!(!h.service.force_release(&key, guard.fencing_token()).await.unwrap());
    drop(guard);
    assert!(h.service.try_acquire(&key, &options).await.unwrap().is_none(), "still held");
    next.release().await.unwrap();
}
