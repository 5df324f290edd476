//! Sections and guards: exclusion, how they end, what is refused.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use cache_core::{
    ConcurrencyService, ConcurrencyServiceExt, LockError, LockErrorKind, LockOptions,
};
use tokio::sync::oneshot;

use super::LockHarness;
use super::harness::{at_once, poll_once};

/// A free lock: the section runs, its value comes back, the lock is free again.
pub async fn p4_01_a_free_lock_runs_the_section(h: LockHarness) {
    let key = h.key("free");
    for n in 0..3 {
        assert_eq!(h.service.with_lock(&key, async { n * 2 }).await.unwrap(), n * 2);
    }
    assert_eq!(h.service.try_with_lock(&key, async { 7 }).await.unwrap(), Some(7));
}

/// A held lock: `try_with_lock` answers at once, does not run its section, leaves no waiter.
pub async fn p4_02_a_held_lock_is_not_waited_for_by_try(h: LockHarness) {
    let key = h.key("held");
    let guard = h.hold(&key).await;
    let ran = AtomicBool::new(false);
    let section = async { ran.store(true, SeqCst) };
    let tried = at_once("a try", h.service.try_with_lock(&key, section)).await;
    assert_eq!(tried.unwrap(), None);
    assert!(!ran.load(SeqCst));
    let options = LockOptions::default();
    let tried = at_once("a try", h.service.try_acquire(&key, &options)).await;
    assert!(tried.unwrap().is_none());
    guard.release().await.unwrap();
    let guard = h.service.try_acquire(&key, &options).await.unwrap();
    guard.expect("it is free now").release().await.unwrap();
}

/// A hundred tasks on one key: no two sections at once, none is lost.
pub async fn p4_05_hundred_tasks_exclude_each_other(h: LockHarness) {
    let key = h.key("crowd");
    let (inside, counter) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let tasks: Vec<_> = (0..100)
        .map(|_| {
            let (h, key) = (h.clone(), key.clone());
            let (inside, counter) = (Arc::clone(&inside), Arc::clone(&counter));
            tokio::spawn(async move {
                let section = async {
                    assert_eq!(inside.fetch_add(1, SeqCst), 0, "two sections at once");
                    // Not atomic on purpose: an overlap would lose a count.
                    let seen = counter.load(SeqCst);
                    tokio::task::yield_now().await;
                    counter.store(seen + 1, SeqCst);
                    inside.fetch_sub(1, SeqCst);
                };
                h.service.with_lock(&key, section).await.unwrap();
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(counter.load(SeqCst), 100);
}

/// Many keys at once: all are held together.
pub async fn p4_07_distinct_keys_do_not_block_each_other(h: LockHarness) {
    let mut guards = Vec::new();
    let options = LockOptions::default();
    for n in 0..200 {
        let guard = h.service.try_acquire(&h.key(&format!("distinct:{n}")), &options).await;
        guards.push(guard.unwrap().expect("nobody else holds this key"));
    }
    for guard in guards {
        guard.release().await.unwrap();
    }
}

/// A section that panics: the panic is the caller's, unchanged; the lock is free.
pub async fn p4_10_a_panic_passes_through_and_releases(h: LockHarness) {
    let (h2, key) = (h.clone(), h.key("panic"));
    let key2 = key.clone();
    let task = tokio::spawn(async move {
        h2.service.with_lock(&key2, async { std::panic::panic_any(4711_u32) }).await
    });
    let panic = task.await.expect_err("the section panicked").into_panic();
    assert_eq!(panic.downcast_ref::<u32>(), Some(&4711));
    h.hold(&key).await.release().await.unwrap();
}

/// A section that returns an error: that is its value; the lock is free.
pub async fn p4_11_an_error_is_a_value_and_releases(h: LockHarness) {
    let key = h.key("error");
    let value = h.service.with_lock(&key, async { Err::<(), _>("no") }).await.unwrap();
    assert_eq!(value, Err("no"));
    h.hold(&key).await.release().await.unwrap();
}

/// A section that is dropped half-way: the lock is free.
pub async fn p4_12_a_dropped_section_releases(h: LockHarness) {
    let (h2, key) = (h.clone(), h.key("dropped"));
    let key2 = key.clone();
    let (started, running) = oneshot::channel();
    let section = async move {
        let _ = started.send(());
        pending::<()>().await;
    };
    let task = tokio::spawn(async move { h2.service.with_lock(&key2, section).await });
    running.await.expect("the section runs");
    task.abort();
    assert!(task.await.expect_err("aborted").is_cancelled());
    h.hold(&key).await.release().await.unwrap();
}

/// A guard dropped on a thread without a runtime: no panic, and the lock is free.
pub async fn p4_13_a_guard_dropped_without_a_runtime_releases(h: LockHarness) {
    let key = h.key("thread");
    let guard = h.hold(&key).await;
    let dropped = std::thread::spawn(move || drop(guard)).join();
    dropped.expect("dropping a guard does not panic");
    h.hold(&key).await.release().await.unwrap();
}

/// `with_lock` inside itself: an error at once, and the outer section goes on; also through
/// another handle, and also if another section lies between.
pub async fn p4_17_nesting_one_key_is_a_deadlock_at_once(h: LockHarness) {
    let (key, other) = (h.key("nested"), h.key("between"));
    let handle: Box<dyn ConcurrencyService> = Box::new(Arc::clone(&h.service));
    let outer = async {
        let direct = h.service.with_lock(&key, async {}).await;
        let between = handle.with_lock(&other, handle.with_lock(&key, async {})).await.unwrap();
        let tried = h.service.try_with_lock(&key, async {}).await.unwrap();
        (direct, between, tried)
    };
    let (direct, between, tried) = h.service.with_lock(&key, outer).await.unwrap();
    for error in [direct.unwrap_err(), between.unwrap_err()] {
        assert_eq!(error.kind(), LockErrorKind::Deadlock);
        assert_eq!(error.key(), Some(&*key));
        assert!(!error.is_retryable());
    }
    assert_eq!(tried, None);
    h.hold(&key).await.release().await.unwrap();
}

/// Two sections on one key in one task, side by side: no deadlock, they take turns.
pub async fn p4_17_two_sections_joined_in_one_task_take_turns(h: LockHarness) {
    let key = h.key("siblings");
    let section = || h.service.with_lock(&key, tokio::task::yield_now());
    let (first, second) = tokio::join!(section(), section());
    first.and(second).unwrap();
}

/// One lock inside another on a different key.
pub async fn p4_17_nesting_two_keys_is_fine(h: LockHarness) {
    let (one, two) = (h.key("one"), h.key("two"));
    let value = h.service.with_lock(&one, h.service.with_lock(&two, async { 3 })).await;
    assert_eq!(value.unwrap().unwrap(), 3);
}

/// Two keys in opposite order: no deadlock, and the section has both.
pub async fn p4_18_several_locks_in_opposite_order_are_no_deadlock(h: LockHarness) {
    let (a, b) = (h.key("a"), h.key("b"));
    let (a, b) = (a.as_str(), b.as_str());
    let inside = AtomicBool::new(false);
    let section = async || {
        assert!(!inside.swap(true, SeqCst), "two sections at once");
        tokio::task::yield_now().await;
        inside.store(false, SeqCst);
    };
    let rounds = async |keys: [&str; 3]| {
        for _ in 0..20 {
            h.service.with_locks(&keys, section()).await.unwrap();
        }
    };
    tokio::join!(rounds([a, b, a]), rounds([b, a, b]));
    // All or nothing: without the second it does not keep the first.
    let guard = h.hold(b).await;
    let keys = [b, a];
    let both = h.service.with_locks(&keys, async { inside.store(true, SeqCst) });
    assert!(poll_once(both).await.is_none());
    h.hold(a).await.release().await.unwrap();
    assert!(!inside.load(SeqCst), "it ran with one of its locks");
    guard.release().await.unwrap();
}

/// Keys that are empty or too long are refused; the longest is fine.
pub async fn keys_have_1_to_1024_bytes(h: LockHarness) {
    let options = LockOptions::default();
    for key in ["", &"x".repeat(1025)] {
        let errors: [Option<LockError>; 2] = [
            h.service.acquire(key, &options).await.err(),
            h.service.try_acquire(key, &options).await.err(),
        ];
        for error in errors {
            assert_eq!(error.map(|error| error.kind()), Some(LockErrorKind::InvalidKey));
        }
    }
    let mut longest = h.key("");
    longest.push_str(&"x".repeat(1024 - longest.len()));
    h.hold(&longest).await.release().await.unwrap();
}

/// Keys that look alike, or mean something to a server, are different locks.
pub async fn keys_are_taken_literally(h: LockHarness) {
    let keys = [
        "a",
        "A",
        "a ",
        " a",
        "a\n",
        "a\r\n",
        "a\t",
        "a\0",
        "a\0b",
        "*",
        "?",
        "[a]",
        "a*",
        "{a}",
        "{a}b",
        "{}",
        "\\",
        "\"",
        "'",
        "a:b",
        "a::b",
        ":",
        "a/b",
        "../a",
        "%61",
        "%",
        "$",
        "\u{e9}",
        "e\u{301}",
        "\u{130}",
        "i",
        "\u{df}",
        "ss",
        "\u{1f980}",
        "\u{feff}a",
        "a\u{200b}",
    ];
    let (options, mut guards) = (LockOptions::default(), Vec::new());
    for key in keys.map(|name| h.key(&format!("literal {name}"))) {
        let guard = h.service.try_acquire(&key, &options).await.unwrap();
        let guard = guard.unwrap_or_else(|| panic!("{key:?} is taken for another key"));
        assert_eq!(guard.key(), key);
        guards.push(guard);
    }
    for guard in guards {
        guard.release().await.unwrap();
    }
}

/// Options that do not validate are refused, naming what is wrong.
pub async fn options_out_of_range_are_refused(h: LockHarness) {
    let key = h.key("options");
    for (options, named) in [
        (LockOptions::default().lease(Duration::ZERO), "lease"),
        (LockOptions::default().lease(Duration::from_millis(9)), "lease"),
        (LockOptions::default().max_hold(Duration::from_millis(9)), "max_hold"),
    ] {
        let acquired = h.service.acquire(&key, &options).await.map(drop);
        let tried = h.service.try_acquire(&key, &options).await.map(drop);
        for error in [acquired.unwrap_err(), tried.unwrap_err()] {
            assert_eq!(error.kind(), LockErrorKind::Config);
            assert!(error.to_string().contains(named), "{error}");
        }
    }
}

/// Durations beyond any clock neither panic nor wrap round.
pub async fn huge_durations_saturate(h: LockHarness) {
    let key = h.key("huge");
    let huge = LockOptions::default().lease(Duration::MAX).wait(Duration::MAX);
    for options in [huge.clone(), huge.clone().renew(false), huge.max_hold(Duration::MAX)] {
        let guard = h.service.acquire(&key, &options).await.unwrap();
        guard.check().unwrap();
        assert!(guard.remaining() > Duration::from_secs(3600));
        let waiter = h.service.acquire(&key, &options);
        assert!(poll_once(waiter).await.is_none());
        guard.release().await.unwrap();
    }
}

/// After the release every view of the lock says that it is over.
pub async fn a_released_lock_is_over_for_its_views(h: LockHarness) {
    let key = h.key("views");
    let guard = h.hold(&key).await;
    let held = guard.held();
    assert_eq!((held.key(), guard.key()), (&*key, &*key));
    assert_eq!(held.fencing_token(), guard.fencing_token());
    assert!(held.check().is_ok() && guard.remaining() > Duration::ZERO);
    let view = held.clone();
    let lost = tokio::spawn(async move { view.lost().await });
    guard.release().await.unwrap();
    assert_eq!(lost.await.unwrap().kind(), LockErrorKind::LeaseLost);
    assert_eq!(held.check().unwrap_err().kind(), LockErrorKind::LeaseLost);
    assert_eq!(held.remaining(), Duration::ZERO);
}
