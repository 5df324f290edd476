//! Scenarios of promise P4 that are exact, or about this backend alone. What every backend must
//! do is in the suite (`conformance.rs`).

#![allow(clippy::unwrap_used, reason = "test code, also outside of test functions")]

mod common;

use std::collections::HashMap;
use std::future::pending;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use cache_concurrency::LocalConcurrencyService;
use cache_core::{ConcurrencyService, ConcurrencyServiceExt, HeldLock, LockErrorKind, LockOptions};
use common::{Hand, manual, now, until};

const LEASE: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_micros(1);

fn options() -> LockOptions {
    LockOptions::default().lease(LEASE)
}

#[test]
fn p4_01_a_free_lock_needs_no_runtime_and_one_poll() {
    let (locks, _clock) = manual();
    assert_eq!(now(locks.with_lock("k", async { 5 })).unwrap(), 5);
    assert!(locks.is_empty());
}

#[test]
fn p4_02_a_try_on_a_held_lock_enqueues_nothing() {
    let (locks, _clock) = manual();
    let guard = now(locks.acquire("k", &options())).unwrap();
    assert!(now(locks.try_acquire("k", &options())).unwrap().is_none());
    assert_eq!(now(locks.inspect("k")).unwrap().unwrap().waiters, 0);
    drop(guard);
    assert!(locks.is_empty());
}

#[test]
fn p4_03_the_wait_ends_to_the_microsecond() {
    let (locks, clock) = manual();
    let _guard = now(locks.acquire("k", &options())).unwrap();
    let options = options().wait(Duration::from_millis(200));
    let mut waiter = Hand::new(locks.acquire("k", &options));
    waiter.waits();
    clock.advance(Duration::from_millis(200) - TICK);
    waiter.waits();
    clock.advance(TICK);
    assert!(waiter.wakes() > 0, "the timer wakes it");
    assert_eq!(waiter.ready().unwrap_err().kind(), LockErrorKind::Timeout);
    assert_eq!(now(locks.inspect("k")).unwrap().unwrap().waiters, 0);
    drop(waiter);
    assert_eq!(clock.sleepers(), 0, "no timer is left behind");
}

#[test]
fn p4_04_the_waiter_behind_a_cancelled_one_gets_the_lock() {
    let (locks, _clock) = manual();
    let guard = now(locks.acquire("k", &options())).unwrap();
    let options = options();
    let [mut first, mut second] = [(); 2].map(|()| Hand::new(locks.acquire("k", &options)));
    first.waits();
    second.waits();
    drop(first);
    drop(guard);
    assert_eq!(second.wakes(), 1);
    drop(second.ready().unwrap());
    drop(second);
    assert!(locks.is_empty());
}

#[test]
fn p4_04_a_waiter_dropped_after_its_grant_passes_the_lock_on() {
    let (locks, _clock) = manual();
    let guard = now(locks.acquire("k", &options())).unwrap();
    let options = options();
    let [mut first, mut second] = [(); 2].map(|()| Hand::new(locks.acquire("k", &options)));
    first.waits();
    second.waits();
    drop(guard);
    assert_eq!((first.wakes(), second.wakes()), (1, 0), "only the head is woken");
    drop(first);
    assert_eq!(second.wakes(), 1);
    drop(second.ready().unwrap());
    assert!(locks.is_empty());
}

#[test]
fn p4_06_eight_threads_of_fifty_tasks_exclude_each_other() {
    const SECTIONS: u64 = 25;
    let locks = LocalConcurrencyService::new();
    let (inside, counter) = (AtomicU64::new(0), AtomicU64::new(0));
    let tokens = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                // Each thread with a runtime of its own, as near as one process comes to eight.
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                let task = async || {
                    for _ in 0..SECTIONS {
                        // Ten thousand sections queue up here: give a slow machine time.
                        let options = options().lease(30 * LEASE).wait(60 * LEASE);
                        let section = async |held: HeldLock| {
                            assert_eq!(inside.fetch_add(1, SeqCst), 0, "two sections at once");
                            tokens.lock().unwrap().push(held.fencing_token());
                            let seen = counter.load(SeqCst);
                            tokio::task::yield_now().await;
                            counter.store(seen + 1, SeqCst);
                            inside.fetch_sub(1, SeqCst);
                        };
                        let guard = locks.acquire("k", &options).await.unwrap();
                        section(guard.held()).await;
                        guard.release().await.unwrap();
                    }
                };
                let tasks = futures_util::future::join_all((0..50).map(|_| task()));
                runtime.unwrap().block_on(tasks);
            });
        }
    });
    assert_eq!(counter.load(SeqCst), 8 * 50 * SECTIONS);
    assert!(tokens.lock().unwrap().is_sorted_by(|a, b| a < b), "tokens follow the grants");
    assert!(locks.is_empty());
}

#[tokio::test]
async fn p4_07_a_thousand_keys_take_as_long_as_one() {
    let (locks, clock) = manual();
    let tasks: Vec<_> = (0..1000)
        .map(|n| {
            let (locks, clock) = (locks.clone(), clock.clock());
            tokio::spawn(async move {
                let guard = locks.acquire(&format!("k{n}"), &options()).await.unwrap();
                clock.sleep(Duration::from_millis(10)).await;
                guard.release().await.unwrap();
            })
        })
        .collect();
    until(|| clock.sleepers() == 1000).await;
    assert_eq!(locks.len(), 1000);
    clock.advance(Duration::from_millis(10));
    for task in tasks {
        task.await.unwrap();
    }
    assert!(locks.is_empty());
}

/// Runs `tasks` loops on one key until one has had it `rounds` times; how often each had it.
async fn shares(tasks: usize, rounds: usize) -> Vec<usize> {
    let (locks, _clock) = manual();
    let over = Arc::new(AtomicBool::new(false));
    // Nobody starts before all are there.
    let guard = locks.acquire("k", &options()).await.unwrap();
    let loops: Vec<_> = (0..tasks)
        .map(|_| {
            let (locks, over) = (locks.clone(), Arc::clone(&over));
            tokio::spawn(async move {
                let mut had = 0;
                while !over.load(SeqCst) {
                    locks.with_lock("k", tokio::task::yield_now()).await.unwrap();
                    had += 1;
                    over.fetch_or(had == rounds, SeqCst);
                }
                had
            })
        })
        .collect();
    until(|| now(locks.inspect("k")).unwrap().is_some_and(|info| info.waiters == tasks)).await;
    guard.release().await.unwrap();
    let mut shares = Vec::new();
    for task in loops {
        shares.push(task.await.unwrap());
    }
    assert!(locks.is_empty());
    shares
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p4_08_sixteen_loops_get_equal_shares() {
    let shares = shares(16, 500).await;
    let (least, most) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
    assert!(*most as f64 <= 1.2 * *least as f64, "{shares:?}");
}

#[tokio::test]
async fn p4_09_a_loop_that_releases_and_asks_again_leaves_half_to_the_other() {
    let shares = shares(2, 1000).await;
    assert!(*shares.iter().min().unwrap() >= 900, "{shares:?}");
}

#[test]
fn p4_14_a_runtime_shut_down_while_holding_releases() {
    let locks = LocalConcurrencyService::new();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (holder, waiter) = (locks.clone(), locks.clone());
    runtime.spawn(async move { holder.with_lock("k", pending::<()>()).await });
    runtime.block_on(until(|| locks.len() == 1));
    runtime.spawn(async move { waiter.with_lock("k", pending::<()>()).await });
    drop(runtime);
    assert!(locks.is_empty());
}

#[test]
fn p4_15_a_renewed_lock_is_held_until_max_hold_and_reports_one_lease() {
    let (locks, clock) = manual();
    let guard = now(locks.acquire("k", &options())).unwrap();
    for _ in 0..9 {
        assert_eq!(guard.remaining(), LEASE);
        clock.advance(LEASE);
    }
    clock.advance(LEASE / 4);
    assert_eq!(guard.remaining(), 3 * LEASE / 4, "the last lease runs out");
    assert!(guard.check().is_ok());
    clock.advance(3 * LEASE / 4);
    assert_eq!(guard.check().unwrap_err().kind(), LockErrorKind::MaxHoldExceeded);
    assert_eq!(now(guard.release()).unwrap_err().kind(), LockErrorKind::MaxHoldExceeded);
    assert!(locks.is_empty());
}

#[test]
fn p4_16_a_section_is_not_polled_after_its_lease_and_goes_before_its_lock() {
    struct Section<'a>(&'a LocalConcurrencyService, &'a AtomicU64);
    impl Future for Section<'_> {
        type Output = ();
        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
            self.1.fetch_add(1, SeqCst);
            Poll::Pending
        }
    }
    impl Drop for Section<'_> {
        fn drop(&mut self) {
            assert_eq!(self.0.len(), 1, "the lock went before the section");
        }
    }
    let (locks, clock) = manual();
    let polls = AtomicU64::new(0);
    let options = options().renew(false);
    let run = || locks.with_lock_opts("k", &options, |_| Section(&locks, &polls));

    let mut call = Hand::new(run());
    call.waits();
    clock.advance(LEASE - TICK);
    call.waits();
    assert_eq!(polls.load(SeqCst), 2);
    clock.advance(TICK);
    assert!(call.wakes() > 0, "the timer wakes it");
    assert_eq!(call.ready().unwrap_err().kind(), LockErrorKind::LeaseLost);
    assert_eq!(polls.load(SeqCst), 2, "polled after its lease");
    drop(call);
    assert!(locks.is_empty());

    let mut dropped = Hand::new(run());
    dropped.waits();
    drop(dropped);
    assert!(locks.is_empty());
}

#[test]
fn p4_16_a_value_from_a_poll_that_began_in_time_is_kept() {
    let (locks, clock) = manual();
    let section = async {
        clock.advance(11 * LEASE);
        "late, but whole"
    };
    let value = now(locks.with_lock_opts("k", &options(), |_| section));
    assert_eq!(value.unwrap(), "late, but whole");
    assert!(locks.is_empty());
}

#[test]
fn p4_16_any_waiter_sees_to_the_takeover_and_the_head_gets_the_lock() {
    let (locks, clock) = manual();
    let old = now(locks.acquire("k", &options().renew(false))).unwrap();
    let options = options().wait(100 * LEASE).renew(false);
    let [mut head, mut second] = [(); 2].map(|()| Hand::new(locks.acquire("k", &options)));
    head.waits();
    second.waits();
    clock.advance(LEASE);
    // The head is slow to run; the one behind it is not.
    second.waits();
    let guard = head.ready().unwrap();
    assert_eq!(old.check().unwrap_err().kind(), LockErrorKind::LeaseLost);
    drop(old);
    assert!(guard.check().is_ok());
    second.waits();
    drop(guard);
    drop(second.ready().unwrap());
    assert!(locks.is_empty());
}

#[test]
fn p4_16_a_grant_that_nobody_sees_runs_out_too() {
    let (locks, clock) = manual();
    let guard = now(locks.acquire("k", &options())).unwrap();
    let options = options().wait(100 * LEASE).renew(false);
    let [mut frozen, mut next] = [(); 2].map(|()| Hand::new(locks.acquire("k", &options)));
    frozen.waits();
    next.waits();
    drop(guard);
    clock.advance(LEASE);
    let guard = next.ready().unwrap();
    assert_eq!(frozen.ready().unwrap_err().kind(), LockErrorKind::LeaseLost);
    assert!(guard.check().is_ok());
    drop(guard);
    assert!(locks.is_empty());
}

#[test]
fn p4_16_a_newcomer_takes_a_lease_that_is_over_without_a_queue() {
    let (locks, clock) = manual();
    let old = now(locks.acquire("k", &options().renew(false))).unwrap();
    clock.advance(LEASE);
    assert!(now(locks.inspect("k")).unwrap().is_none(), "a lease that is over is nobody's");
    let new = now(locks.try_acquire("k", &options())).unwrap().unwrap();
    assert_eq!(now(old.release()).unwrap_err().kind(), LockErrorKind::LeaseLost);
    assert!(now(locks.try_acquire("k", &options())).unwrap().is_none());
    drop(new);
    assert!(locks.is_empty());
}

#[test]
fn p4_17_a_guard_taken_again_in_its_own_task_times_out() {
    let (locks, clock) = manual();
    let options = options();
    // Shorter than the hold: otherwise the waiter would take over from its own guard.
    let short = options.clone().wait(LEASE);
    let mut nested = Hand::new(async {
        let _guard = locks.acquire("k", &options).await.unwrap();
        locks.acquire("k", &short).await.map(drop)
    });
    nested.waits();
    clock.advance(LEASE);
    assert_eq!(nested.ready().unwrap_err().kind(), LockErrorKind::Timeout);
}

#[test]
fn p4_17_the_same_key_of_two_services_is_two_locks() {
    let (clock, other) = (manual().1, manual().0);
    let locks = LocalConcurrencyService::builder().clock(&clock).build();
    let clone = locks.clone();
    let nested = now(locks.with_lock("k", other.with_lock("k", clone.with_lock("k", async {}))));
    let innermost = nested.unwrap().unwrap();
    assert_eq!(innermost.unwrap_err().kind(), LockErrorKind::Deadlock);
}

#[test]
fn p4_24_a_million_cancelled_waiters_leave_nothing() {
    let (locks, clock) = manual();
    let options = options();
    let rounds = |from: u64, to: u64| {
        let mut held = HashMap::new();
        for n in from..to {
            let key = format!("k{}", n.wrapping_mul(0x9E37_79B9_7F4A_7C15) % 100_000);
            if !held.contains_key(&key) {
                held.insert(key.clone(), now(locks.acquire(&key, &options)).unwrap());
            }
            Hand::new(locks.acquire(&key, &options)).waits();
            if held.len() == 1000 {
                held.clear();
            }
        }
        drop(held);
        assert!(locks.is_empty());
        assert_eq!(clock.sleepers(), 0);
    };
    rounds(0, 500_000);
    let before = resident_bytes();
    rounds(500_000, 1_000_000);
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 4 << 20, "grown by {grown} bytes");
}

/// Memory of this process, where the system tells.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * 4096
}

#[test]
fn tokens_of_a_service_are_above_those_of_the_one_before() {
    let mut last = None;
    for _ in 0..3 {
        let locks = LocalConcurrencyService::new();
        for _ in 0..100_000 {
            let guard = now(locks.acquire("k", &options())).unwrap();
            assert!(Some(guard.fencing_token()) > last);
            last = Some(guard.fencing_token());
        }
    }
}

#[test]
fn a_lock_taken_by_force_passes_to_the_head_of_the_queue() {
    let (locks, _clock) = manual();
    let guard = now(locks.acquire("k", &options())).unwrap();
    let options = options();
    let mut head = Hand::new(locks.acquire("k", &options));
    head.waits();
    let mut lost = Hand::new(guard.lost());
    lost.waits();
    let stale = cache_core::FencingToken(guard.fencing_token().0 - 1);
    assert!(!now(locks.force_release("k", stale)).unwrap());
    lost.waits();
    assert!(now(locks.force_release("k", guard.fencing_token())).unwrap());
    assert_eq!((lost.wakes(), head.wakes()), (1, 1));
    assert_eq!(lost.ready().kind(), LockErrorKind::LeaseLost);
    let new = head.ready().unwrap();
    drop(lost);
    drop(guard);
    assert!(new.check().is_ok());
    assert_eq!(locks.len(), 1);
}

#[test]
fn a_shut_down_service_wakes_its_waiters_and_empties() {
    let (locks, _clock) = manual();
    let guard = now(locks.acquire("k", &options())).unwrap();
    let options = options();
    let mut waiter = Hand::new(locks.acquire("k", &options));
    waiter.waits();
    now(locks.shutdown());
    assert_eq!(waiter.wakes(), 1);
    assert_eq!(waiter.ready().unwrap_err().kind(), LockErrorKind::Unavailable);
    now(guard.release()).unwrap();
    assert!(locks.is_empty());
}

#[test]
fn p4_18_two_keys_in_opposite_order_do_not_deadlock() {
    let (locks, _clock) = manual();
    let open = AtomicBool::new(false);
    let section = || {
        std::future::poll_fn(|_| match open.load(SeqCst) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        })
    };
    let mut one = Hand::new(locks.with_locks(&["a", "b"], section()));
    let mut other = Hand::new(locks.with_locks(&["b", "a", "b"], section()));
    one.waits();
    other.waits();
    // The first has both, the second none: it waits for the first in order.
    assert_eq!(locks.len(), 2);
    assert_eq!(now(locks.inspect("a")).unwrap().unwrap().waiters, 1);
    assert_eq!(now(locks.inspect("b")).unwrap().unwrap().waiters, 0);
    open.store(true, SeqCst);
    one.ready().unwrap();
    other.ready().unwrap();
    assert!(locks.is_empty());
}

#[test]
fn p4_18_all_locks_or_none() {
    let (locks, clock) = manual();
    let guard = now(locks.acquire("b", &LockOptions::default())).unwrap();
    let never = async { panic!("b is held") };
    let mut call = Hand::new(locks.with_locks(&["c", "a", "b"], never));
    call.waits();
    assert_eq!(locks.len(), 2, "a is held, c not yet asked for");
    clock.advance(Duration::from_secs(10));
    let error: cache_core::LockError = call.ready().unwrap_err();
    assert_eq!((error.kind(), error.key()), (LockErrorKind::Timeout, Some("b")));
    assert_eq!(locks.len(), 1, "a was released");
    drop(guard);
    assert_eq!(now(locks.with_locks(&[], async { 7 })).unwrap(), 7);
}
