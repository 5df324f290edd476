//! The warmer's schedules, and how its runs end: cancelled, shut down, dropped.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is how a test fails")]

mod warming;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cache_core::{
    CacheServiceExt, ErrorKind, ManualClock, Policy, Warm, WarmCause, WarmLoader, WarmState, Warmer,
};
use cache_quick::QuickCacheService;
use cache_testkit::{Gate, drop_after, eventually, let_others_run};
use warming::{Values, cache, keys, listed, value};

const EVERY: Duration = Duration::from_secs(60);
const TTL: Duration = Duration::from_secs(50);

#[tokio::test]
async fn a_schedule_warms_again_what_has_expired() {
    let clock = ManualClock::new();
    let cache = cache(&clock);
    let calls = Arc::new(Values::default());
    let warmer = Warmer::builder(Arc::new(cache.clone()))
        .loader(listed("k", "k:", 3, &calls).policy(TTL).every(EVERY).at_start(false))
        .build()
        .unwrap();
    assert_eq!(warmer.start().unwrap().wait().await.total, 0, "not at the start");
    for round in 1..=3 {
        eventually(|| clock.sleepers() == 1).await;
        clock.advance(EVERY - Duration::from_millis(1));
        let_others_run().await;
        assert_eq!(calls.batches().len(), round - 1, "too early");
        clock.advance(Duration::from_millis(1));
        eventually(|| calls.batches().len() == round).await;
        eventually(|| !warmer.runs()[0].is_running()).await;
        assert_eq!(warmer.runs()[0].cause, WarmCause::Schedule);
        assert_eq!(cache.get::<String>("k:2").await.unwrap(), Some(value("k:2")));
    }
    // Begun again, it is still one schedule.
    warmer.start().unwrap().wait().await;
    eventually(|| clock.sleepers() == 1).await;
    warmer.shutdown().await;
    assert_eq!(clock.sleepers(), 0);
}

#[tokio::test]
async fn runs_of_a_schedule_never_overlap_and_missed_ones_are_left_out() {
    let clock = ManualClock::new();
    let gate = Gate::new();
    let passed = gate.clone();
    let load = move |keys: Vec<String>| {
        let gate = passed.clone();
        async move {
            gate.pass().await;
            Ok::<_, io::Error>(keys.into_iter().map(|key| (key, 1)).collect())
        }
    };
    let loader = WarmLoader::new::<u64, _, _, _>("k", "k:", load)
        .keys(|| async { Ok::<_, io::Error>(keys("k:", 1)) })
        .policy(Policy::ttl(TTL).load_timeout(Duration::MAX))
        .every(EVERY)
        .at_start(false);
    let warmer = Warmer::builder(Arc::new(cache(&clock))).loader(loader).build().unwrap();
    warmer.start().unwrap();
    eventually(|| clock.sleepers() == 1).await;
    clock.advance(EVERY);
    gate.reached().await;
    clock.advance(EVERY * 5);
    let_others_run().await;
    assert_eq!(gate.arrivals(), 1, "while one is under way there is no other");
    let scheduled = || warmer.runs().iter().filter(|run| run.cause == WarmCause::Schedule).count();
    assert_eq!(scheduled(), 1);
    gate.open();
    // One that is late, at once; then the next when it is due.
    eventually(|| scheduled() == 2 && clock.sleepers() == 1).await;
    clock.advance(EVERY - Duration::from_millis(1));
    let_others_run().await;
    assert_eq!(scheduled(), 2);
    clock.advance(Duration::from_millis(1));
    eventually(|| scheduled() == 3).await;
}

/// A warmer whose loads wait for the gate, so many at a time.
fn gated(cache: &QuickCacheService, concurrency: usize) -> (Warmer, Gate) {
    let gate = Gate::new();
    let passed = gate.clone();
    let load = move |keys: Vec<String>| {
        let gate = passed.clone();
        async move {
            gate.pass().await;
            Ok::<_, io::Error>(keys.into_iter().map(|key| (key, 1)).collect())
        }
    };
    let loader = WarmLoader::new::<u64, _, _, _>("k", "k:", load);
    let warmer = Warmer::builder(Arc::new(cache.clone())).loader(loader).batch_size(1);
    (warmer.concurrency(concurrency).build().unwrap(), gate)
}

#[tokio::test]
async fn a_cancelled_run_says_so_and_its_keys_stay_usable() {
    let cache = cache(&ManualClock::new());
    let (warmer, gate) = gated(&cache, 4);
    let run = warmer.warm(Warm::Keys(keys("k:", 10))).unwrap();
    gate.reached_by(4).await;
    run.cancel();
    let ended = run.wait().await;
    assert_eq!((ended.state, ended.done), (WarmState::Cancelled, 0));
    assert!(ended.ended.is_some());
    // The loads that had begun are there for others; the rest was not begun.
    gate.open();
    let load = || async { Ok::<_, io::Error>(2_u64) };
    assert_eq!(*cache.get_or_load("k:0", None, load).await.unwrap(), 1);
    assert_eq!(*cache.get_or_load("k:9", None, load).await.unwrap(), 2);
    eventually(|| cache.engine().loads_in_flight() == 0).await;
    assert_eq!(gate.arrivals(), 4);

    // Before it has run at all.
    let run = warmer.warm(Warm::Keys(keys("k:x", 1))).unwrap();
    run.cancel();
    assert_eq!(run.wait().await.state, WarmState::Cancelled);
}

#[tokio::test]
async fn a_load_that_outlives_its_run_keeps_its_turn() {
    let (warmer, gate) = gated(&cache(&ManualClock::new()), 1);
    let warm = |prefix, count| warmer.warm(Warm::Keys(keys(prefix, count))).unwrap();
    let cancelled = warm("k:a", 2);
    gate.reached().await;
    cancelled.cancel();
    assert_eq!(cancelled.wait().await.state, WarmState::Cancelled);
    let waiting = warm("k:b", 1);
    let_others_run().await;
    assert_eq!(gate.arrivals(), 1, "one at a time, whoever waits for it");
    gate.open();
    assert!(waiting.wait().await.is_success());
    assert_eq!(gate.arrivals(), 2);
}

/// Nobody waits for it: the run takes the stale value.
#[tokio::test]
async fn a_refresh_in_the_background_keeps_its_turn() {
    let (clock, gate) = (ManualClock::new(), Gate::new());
    let (passed, calls) = (gate.clone(), AtomicUsize::new(0));
    let load = move |keys: Vec<String>| {
        let (gate, is_first) = (passed.clone(), calls.fetch_add(1, Ordering::Relaxed) == 0);
        async move {
            if !is_first {
                gate.pass().await;
            }
            Ok::<_, io::Error>(keys.into_iter().map(|key| (key, 1)).collect())
        }
    };
    let loader = WarmLoader::new::<u64, _, _, _>("k", "k:", load)
        .policy(Policy::ttl(TTL).stale_for(TTL).load_timeout(Duration::MAX));
    let warmer = Warmer::builder(Arc::new(cache(&clock))).loader(loader).concurrency(1);
    let warmer = warmer.build().unwrap();
    let warm = |prefix| warmer.warm(Warm::Keys(keys(prefix, 1))).unwrap();
    assert!(warm("k:a").wait().await.is_success());
    clock.advance(TTL);
    assert!(warm("k:a").wait().await.is_success(), "at once");
    gate.reached().await;
    let waiting = warm("k:b");
    let_others_run().await;
    assert_eq!(gate.arrivals(), 1);
    gate.open();
    assert!(waiting.wait().await.is_success());
    assert_eq!(gate.arrivals(), 2);
}

#[tokio::test]
async fn a_dropped_handle_does_not_stop_the_run() {
    let (warmer, gate) = gated(&cache(&ManualClock::new()), 4);
    let mut run = warmer.warm(Warm::Keys(keys("k:", 2))).unwrap();
    for polls in 0..3 {
        assert!(drop_after(polls, run.clone().wait()).await.is_none());
        drop_after(polls, run.next()).await;
    }
    let id = run.id();
    drop(run);
    gate.open();
    eventually(|| !warmer.run(id).unwrap().is_running()).await;
    assert_eq!(warmer.run(id).unwrap().done, 2);
}

#[tokio::test]
async fn shut_down_it_stops_everything_and_takes_nothing_more() {
    let (warmer, gate) = gated(&cache(&ManualClock::new()), 4);
    let run = warmer.warm(Warm::Keys(keys("k:", 2))).unwrap();
    gate.reached().await;
    drop_after(1, warmer.shutdown()).await;
    warmer.shutdown().await;
    assert_eq!(run.wait().await.state, WarmState::Cancelled);
    let refused = warmer.clone().warm(Warm::All).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable);
    assert_eq!(warmer.start().unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(warmer.runs().len(), 1, "what was refused is no run");
}

#[tokio::test]
async fn with_the_last_clone_everything_ends() {
    let clock = ManualClock::new();
    let calls = Arc::new(Values::default());
    let warmer = Warmer::builder(Arc::new(cache(&clock)))
        .loader(listed("k", "k:", 1, &calls).every(EVERY))
        .build()
        .unwrap();
    let run = warmer.start().unwrap();
    run.wait().await;
    eventually(|| clock.sleepers() == 1).await;
    let other = warmer.clone();
    drop(warmer);
    let_others_run().await;
    assert_eq!(clock.sleepers(), 1);
    drop(other);
    eventually(|| clock.sleepers() == 0).await;
}

#[tokio::test]
async fn there_is_a_bound_on_runs_under_way() {
    let (warmer, gate) = gated(&cache(&ManualClock::new()), 4);
    let warm = || warmer.warm(Warm::Keys(keys("k:", 1)));
    let runs: Vec<_> = (0..32).map(|_| warm().unwrap()).collect();
    let refused = warm().unwrap_err();
    assert!(refused.kind() == ErrorKind::Unavailable && refused.is_retryable());
    gate.open();
    for run in &runs {
        assert!(run.wait().await.is_success());
    }
    assert_eq!(warm().unwrap().wait().await.id, 33);
    assert_eq!(warmer.runs().len(), 32, "the oldest is forgotten");
    assert!(warmer.run(1).is_none() && warmer.run(33).is_some());
}
