//! Promise P7: every future can be dropped after any of its polls, and nothing is left behind.

mod common;

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use cache_core::{ConcurrencyService, ConcurrencyServiceExt, LockOptions};
use common::{Hand, manual, now};

/// A section, or a pause, of three polls.
async fn three_polls() {
    let mut polls = 0;
    poll_fn(|_| {
        polls += 1;
        if polls == 3 { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// Polls a future up to `polls` times and drops it.
fn poll_and_drop<T>(future: impl Future<Output = T>, polls: usize) {
    let mut hand = Hand::new(future);
    for _ in 0..polls {
        if hand.poll().is_ready() {
            break;
        }
    }
}

#[test]
fn p7_acquire_of_a_free_lock_dropped_after_each_poll() {
    for polls in 0..3 {
        let (locks, clock) = manual();
        poll_and_drop(locks.acquire("k", &LockOptions::default()), polls);
        assert!(locks.is_empty(), "after {polls} polls");
        assert_eq!(clock.sleepers(), 0);
    }
}

#[test]
fn p7_acquire_in_the_queue_dropped_after_each_poll() {
    for polls in 0..6 {
        let (locks, clock) = manual();
        let options = LockOptions::default();
        let guard = now(locks.acquire("k", &options)).unwrap();
        let mut waiter = Hand::new(locks.acquire("k", &options));
        let mut behind = Hand::new(locks.acquire("k", &options));
        for _ in 0..polls {
            waiter.waits();
            // Wakes the timers too, which are polled anew.
            clock.advance(Duration::from_millis(1));
        }
        behind.waits();
        drop(waiter);
        drop(guard);
        drop(behind.ready().unwrap());
        assert!(locks.is_empty(), "after {polls} polls");
        drop(behind);
        assert_eq!(clock.sleepers(), 0);
    }
}

#[test]
fn p7_acquire_dropped_between_grant_and_poll() {
    for polls in 1..4 {
        let (locks, _clock) = manual();
        let options = LockOptions::default();
        let guard = now(locks.acquire("k", &options)).unwrap();
        let mut waiter = Hand::new(locks.acquire("k", &options));
        (0..polls).for_each(|_| waiter.waits());
        drop(guard);
        assert_eq!(locks.len(), 1, "it is the waiter's");
        drop(waiter);
        assert!(locks.is_empty(), "after {polls} polls");
    }
}

#[test]
fn p7_with_lock_dropped_after_each_poll() {
    for contended in [false, true] {
        for polls in 0..8 {
            let (locks, clock) = manual();
            let guard = contended.then(|| now(locks.acquire("k", &LockOptions::default())));
            let mut call = Hand::new(locks.with_lock("k", three_polls()));
            let mut guard = guard.map(Result::unwrap);
            for poll in 0..polls {
                if poll == 2 {
                    drop(guard.take());
                }
                if call.poll().is_ready() {
                    break;
                }
            }
            drop(call);
            drop(guard);
            assert!(locks.is_empty(), "contended {contended}, after {polls} polls");
            assert_eq!(clock.sleepers(), 0);
        }
    }
}

#[test]
fn p7_try_with_lock_and_nested_with_lock_dropped_after_each_poll() {
    for polls in 0..6 {
        let (locks, clock) = manual();
        poll_and_drop(locks.try_with_lock("k", three_polls()), polls);
        poll_and_drop(locks.with_lock("a", locks.with_lock("b", three_polls())), polls);
        assert!(locks.is_empty(), "after {polls} polls");
        assert_eq!(clock.sleepers(), 0);
    }
}

#[test]
fn p7_release_dropped_after_each_poll() {
    for polls in 0..3 {
        let (locks, _clock) = manual();
        let options = LockOptions::default();
        let guard = now(locks.acquire("k", &options)).unwrap();
        let mut waiter = Hand::new(locks.acquire("k", &options));
        waiter.waits();
        poll_and_drop(guard.release(), polls);
        assert!(waiter.ready().is_ok(), "after {polls} polls");
    }
}

#[test]
fn p7_lost_dropped_after_each_poll() {
    for polls in 0..4 {
        let (locks, clock) = manual();
        let guard = now(locks.acquire("k", &LockOptions::default())).unwrap();
        poll_and_drop(guard.lost(), polls);
        assert_eq!(clock.sleepers(), 0, "after {polls} polls");
        assert!(guard.check().is_ok());
        drop(guard);
        assert!(locks.is_empty());
    }
}

#[test]
fn p7_inspect_force_release_and_shutdown_dropped_after_each_poll() {
    for polls in 0..3 {
        let (locks, _clock) = manual();
        let guard = now(locks.acquire("k", &LockOptions::default())).unwrap();
        poll_and_drop(locks.inspect("k"), polls);
        poll_and_drop(locks.force_release("k", guard.fencing_token()), polls);
        poll_and_drop(locks.shutdown(), polls);
        drop(guard);
        assert!(locks.is_empty(), "after {polls} polls");
    }
}
