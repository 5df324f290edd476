//! Who comes after whom.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cache_bench_kit::{Contestant, Orders, Spread, Timed, Times, by_two, compete, take_turns};

#[test]
fn nobody_comes_after_the_same_one_all_the_time() {
    const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
    let turns = RefCell::new(Vec::new());
    let turns = &turns;
    let contestants =
        NAMES.map(|name| Contestant::new(name, move || turns.borrow_mut().push(name)));
    let rounds = 2_000;
    assert_eq!(compete(contestants.into(), rounds, 1).len(), NAMES.len());
    let turns = turns.take();
    let mut after = BTreeMap::new();
    for round in turns.chunks(NAMES.len()) {
        let mut each = round.to_vec();
        each.sort_unstable();
        assert_eq!(each, NAMES, "a turn each");
        for pair in round.windows(2) {
            *after.entry((pair[0], pair[1])).or_insert(0_usize) += 1;
        }
    }
    // Of 20 ordered pairs each makes up a twentieth: 400 of 8,000.
    assert_eq!(after.len(), 20);
    assert!(after.values().all(|count| (300..500).contains(count)), "{after:?}");
}

#[test]
fn of_an_even_number_the_middle_is_between_the_two() {
    let spread = |numbers: &[f64]| Spread::of(numbers.iter().copied());
    assert_eq!(spread(&[4.0, 1.0]), Spread { median: 2.5, min: 1.0, max: 4.0 });
    assert_eq!(spread(&[9.0, 1.0, 3.0, 2.0]).median, 2.5);
    assert_eq!(spread(&[9.0, 1.0, 3.0]).median, 3.0);
    assert_eq!(spread(&[]), Spread::default());
}

#[test]
fn two_at_a_time_begin_together_and_the_slower_one_counts() {
    let slow = Duration::from_millis(20);
    let (one, other) = (Cell::new(0), AtomicUsize::new(0));
    let took = by_two(
        || {
            other.fetch_add(1, Ordering::Relaxed);
            // Real time: how long it takes is what is measured.
            std::thread::sleep(slow);
        },
        || one.set(1),
    );
    assert_eq!((one.get(), other.into_inner()), (1, 1));
    assert!(took >= slow, "{took:?}");
}

#[test]
fn orders_are_the_same_in_each_run() {
    let [mut one, mut other] = [Orders::of(9), Orders::of(9)];
    let rounds: Vec<_> = (0..20).map(|_| one.round().to_vec()).collect();
    assert!(rounds.iter().all(|round| other.round() == round));
    assert!(rounds.windows(2).any(|pair| pair[0] != pair[1]));
}

#[test]
fn latencies_are_kept_by_contestant_without_the_first_round() {
    let micros = |micros| {
        let mut times = Times::default();
        times.add(Duration::from_micros(micros));
        times
    };
    let mut count = 0;
    let contestants = vec![
        Timed::new("one", || {
            count += 1;
            micros(count)
        }),
        Timed::pair(["two", "three"].map(str::to_owned), || [micros(20), micros(30)]),
    ];
    let mut measured = take_turns(contestants, 3);
    let names: Vec<_> = measured.iter().map(|latencies| &*latencies.name).collect();
    assert_eq!(names, ["one", "two", "three"]);
    assert_eq!(measured[0].medians, [2.0, 3.0, 4.0]);
    assert_eq!((measured[0].times.len(), measured[0].times.percentile(50.0)), (3, 3.0));
    assert_eq!(measured[2].medians, [30.0; 3]);
    assert!(measured[1].times.cpu().is_none(), "it did not look");
}
