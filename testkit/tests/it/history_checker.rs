//! The checker on histories written by hand.

use cache_core::{BusEvent, Selector};
use cache_testkit::history::{Action, History, Mode, Reason, Record, check};

const ALL_MODES: [Mode; 4] = [Mode::Strict, Mode::Shared, Mode::Told, Mode::ToldWithGrace];

type Line = (usize, std::ops::Range<u64>, Action);

fn history(lines: impl IntoIterator<Item = Line>) -> History {
    let mut history = History::new();
    lines.into_iter().for_each(|(node, stamps, action)| history.add(node, stamps, action));
    history
}

fn removed(key: &str) -> Action {
    Action::remove(Selector::key(key))
}

fn published(key: &str) -> Action {
    Action::Publish(Selector::key(key))
}

fn heard(key: &str) -> Action {
    Action::Deliver(BusEvent::Removed(Selector::key(key)))
}

#[track_caller]
fn right(mode: Mode, lines: impl IntoIterator<Item = Line>) {
    check(&history(lines), mode).unwrap_or_else(|violation| panic!("{mode:?}: {violation}"));
}

#[track_caller]
fn wrong(mode: Mode, lines: impl IntoIterator<Item = Line>) -> Reason {
    check(&history(lines), mode).expect_err(&format!("{mode:?} accepts it")).reason
}

#[track_caller]
fn superseded_by(reason: Reason) -> Action {
    match reason {
        Reason::Superseded { by: Record { action, .. }, .. } => action,
        other => panic!("not superseded: {other:?}"),
    }
}

#[test]
fn what_was_written_or_loaded_may_be_read_until_it_is_removed() {
    for mode in ALL_MODES {
        right(
            mode,
            [
                (0, 0..1, Action::missed("k")),
                (0, 2..7, Action::got("k", 1)),
                (0, 3..4, Action::load("k", 1)),
                (0, 8..9, Action::found("k", 1)),
                (1, 10..11, Action::found("k", 1)),
                (0, 12..13, Action::write("k", 2)),
                (0, 14..15, Action::found("k", 2)),
                (0, 16..17, removed("k")),
                (0, 18..19, Action::missed("k")),
                (0, 20..21, Action::found("other", 5)),
                (0, 20..21, Action::load("other", 5)),
            ],
        );
    }
}

#[test]
fn a_stale_fill_is_found() {
    let lines = || {
        vec![
            (0, 0..9, Action::got("k", 1)),
            (0, 1..2, Action::load("k", 1)),
            (0, 3..4, removed("k")),
            (0, 10..11, Action::found("k", 1)),
        ]
    };
    for mode in ALL_MODES {
        assert_eq!(superseded_by(wrong(mode, lines())), removed("k"));
        // The load read the database after the removal had begun: it has seen what it was for.
        let mut late = lines();
        late[2].1 = 2..4;
        late[1].1 = 1..3;
        right(mode, late);
        // The reader began before the removal returned.
        let mut early = lines();
        early[3].1 = 3..11;
        right(mode, early);
    }
}

#[test]
fn a_value_that_comes_back_after_a_prefix_or_everything_was_removed_is_found() {
    for what in [Selector::Prefix("org:".into()), Selector::All] {
        let lines = |key: &'static str| {
            [
                (0, 0..1, Action::write(key, 1)),
                (0, 2..3, Action::remove(what.clone())),
                (0, 4..5, Action::missed(key)),
                (0, 6..7, Action::found(key, 1)),
            ]
        };
        let reason = wrong(Mode::Told, lines("org:acme"));
        assert_eq!(superseded_by(reason), Action::remove(what.clone()));
    }
    let other = Action::remove(Selector::Prefix("org:".into()));
    right(
        Mode::Strict,
        [
            (0, 0..1, Action::write("user:1", 1)),
            (0, 2..3, other),
            (0, 4..5, Action::found("user:1", 1)),
        ],
    );
}

#[test]
fn a_value_from_nowhere_and_one_from_the_future_are_found() {
    for mode in ALL_MODES {
        let stray = [(0, 0..1, Action::write("k", 1)), (0, 2..3, Action::found("k", 2))];
        assert_eq!(wrong(mode, stray), Reason::NoSource);
        let other_key = [(0, 0..1, Action::write("l", 2)), (0, 2..3, Action::found("k", 2))];
        assert_eq!(wrong(mode, other_key), Reason::NoSource);
        let future = [(0, 0..1, Action::found("k", 2)), (0, 2..3, Action::write("k", 2))];
        assert!(matches!(wrong(mode, future), Reason::FromTheFuture { .. }));
        right(mode, [(0, 0..2, Action::found("k", 2)), (0, 1..3, Action::write("k", 2))]);
    }
}

#[test]
fn a_lost_write_is_found() {
    let lines = [
        (0, 0..1, Action::write("k", 1)),
        (0, 2..3, Action::write("k", 2)),
        (0, 4..5, Action::found("k", 1)),
    ];
    assert_eq!(superseded_by(wrong(Mode::Strict, lines)), Action::write("k", 2));
    // Writes that overlap: either may be the last.
    right(
        Mode::Strict,
        [
            (0, 0..3, Action::write("k", 1)),
            (0, 2..4, Action::write("k", 2)),
            (0, 5..6, Action::found("k", 1)),
            (0, 7..8, Action::found("k", 2)),
        ],
    );
}

#[test]
fn each_remover_is_judged_by_itself_however_late_another_returns() {
    // One overlaps the source and ends nothing; the other began after it.
    for (key, all) in [(3..4, 1..5), (1..5, 3..4), (3..8, 1..5), (1..8, 3..5)] {
        let lines = [
            (0, 0..2, Action::write("k", 1)),
            (0, key.clone(), removed("k")),
            (0, all.clone(), Action::remove(Selector::All)),
            (0, 9..10, Action::found("k", 1)),
        ];
        let guilty = if key.start == 3 { removed("k") } else { Action::remove(Selector::All) };
        assert_eq!(superseded_by(wrong(Mode::Strict, lines)), guilty);
    }
}

#[test]
fn what_failed_may_have_happened_or_not() {
    for mode in ALL_MODES {
        let mut both = history([
            (0, 0..1, Action::write("k", 1)),
            (0, 6..7, Action::found("k", 1)),
            (0, 8..9, Action::found("k", 2)),
            (0, 10..11, removed("k")),
            (0, 12..13, Action::found("k", 2)),
        ]);
        both.add_unknown(0, 2, Action::write("k", 2));
        both.add_unknown(0, 3, removed("k"));
        // A read that failed says nothing.
        both.add_unknown(0, 14, Action::found("k", 77));
        check(&both, mode).unwrap();
        let mut too_early = history([(0, 0..1, Action::found("k", 2))]);
        too_early.add_unknown(0, 2, Action::write("k", 2));
        check(&too_early, mode).unwrap_err();
    }
}

/// Node 1 holds a value, node 0 removes it, node 1 reads it at 20.
fn on_another_node(more: impl IntoIterator<Item = Line>) -> Vec<Line> {
    let mut lines = vec![
        (1, 0..1, Action::load("k", 1)),
        (0, 2..9, removed("k")),
        (1, 20..21, Action::got("k", 1)),
    ];
    lines.extend(more);
    lines
}

#[test]
fn on_another_node_a_removal_counts_when_that_was_told() {
    wrong(Mode::Strict, on_another_node([]));
    right(Mode::Shared, on_another_node([]));
    wrong(Mode::Shared, on_another_node([(1, 22..23, Action::found("k", 1))]));
    for mode in [Mode::Told, Mode::ToldWithGrace] {
        right(mode, on_another_node([]));
        right(mode, on_another_node([(1, 22..23, Action::found("k", 1))]));
        // Heard before it returned, after it had told the bus.
        wrong(mode, on_another_node([(0, 4..5, published("k")), (1, 6..7, heard("k"))]));
        // That event was on its way before this removal told the bus.
        right(mode, on_another_node([(0, 6..7, published("k")), (1, 4..5, heard("k"))]));
        // It may have been another call's, as long as this one has not told the bus.
        let twice = [(0, 3..4, published("k")), (0, 7..8, published("k"))];
        right(mode, on_another_node(twice.into_iter().chain([(1, 5..6, heard("k"))])));
        // Not on record when it told the bus, so when it returned at the latest.
        right(mode, on_another_node([(1, 6..7, heard("k"))]));
        wrong(mode, on_another_node([(1, 10..11, heard("k"))]));
        // Another key's, or another node's, or not dealt with yet.
        right(mode, on_another_node([(1, 10..11, heard("l"))]));
        right(mode, on_another_node([(2, 10..11, heard("k"))]));
        right(mode, on_another_node([(1, 12..30, heard("k"))]));
        // Everything is told at once by a new connection.
        wrong(mode, on_another_node([(1, 10..11, Action::Deliver(BusEvent::Connected))]));
    }
}

#[test]
fn a_call_of_the_bus_that_failed_tells_nothing() {
    let mut lines = history(on_another_node([(1, 6..7, heard("k"))]));
    lines.add_unknown(0, 4, published("k"));
    check(&lines, Mode::Told).unwrap();
}

#[test]
fn without_the_bus_nothing_that_is_held_is_trusted_but_with_grace() {
    let lost = (1, 4..5, Action::Deliver(BusEvent::Disconnected));
    let found = (1, 22..23, Action::found("k", 1));
    let lines = |more: &[Line]| {
        on_another_node([lost.clone(), found.clone()].into_iter().chain(more.iter().cloned()))
    };
    wrong(Mode::Told, lines(&[]));
    right(Mode::ToldWithGrace, lines(&[]));
    // A load may be joined that began after the loss, and none that did before.
    right(Mode::Told, on_another_node([lost.clone()]));
    wrong(Mode::Told, on_another_node([lost.clone(), (0, 3..6, published("k"))]));
    let later = (1, 10..11, Action::Deliver(BusEvent::Disconnected));
    wrong(Mode::Told, on_another_node([later.clone()]));
    for mode in [Mode::Shared, Mode::ToldWithGrace] {
        right(mode, on_another_node([later.clone()]));
    }
    // Connected again before the removal returned, and emptied before that.
    right(Mode::Told, lines(&[(1, 6..7, Action::Deliver(BusEvent::Connected))]));
    let back = (1, 12..30, Action::Deliver(BusEvent::Connected));
    wrong(Mode::Told, lines(std::slice::from_ref(&back)));
    right(Mode::ToldWithGrace, lines(&[back]));
}

#[test]
fn a_node_that_has_not_heard_of_the_bus_yet_is_without_it() {
    let up = |stamps| (1, stamps, Action::Deliver(BusEvent::Connected));
    let found = (1, 22..23, Action::found("k", 1));
    wrong(Mode::Told, on_another_node([found.clone(), up(24..25)]));
    // It may have held the value before it was told.
    right(Mode::Told, on_another_node([up(1..2), found.clone()]));
    right(Mode::Told, on_another_node([found, (1, 24..25, heard("k"))]));
    // A load may be joined that began before.
    right(Mode::Told, on_another_node([up(24..25)]));
}

#[test]
fn a_violation_reads_as_a_story() {
    let lines = [
        (0, 1..2, Action::load("k", 7)),
        (0, 3..4, removed("k")),
        (0, 5..6, Action::found("k", 7)),
    ];
    let violation = check(&history(lines), Mode::Strict).unwrap_err();
    assert_eq!(
        violation.to_string(),
        "a read returned what it must not:
  read:          [5..6] node 0: get k = 7
  source:        [1..2] node 0: loader of k read 7
  superseded by: [3..4] node 0: remove Keys([\"k\"])
  which counts on node 0 from 4 on"
    );
}

#[test]
fn thousands_of_operations_take_milliseconds() {
    let mut lines = Vec::new();
    for at in 0..20_000_u64 {
        let (key, start) = (format!("k{}", at % 2), at * 4);
        lines.push((0, start..start + 3, Action::write(&key, at)));
        lines.push((1, start + 2..start + 5, Action::found(&key, at)));
    }
    let start = std::time::Instant::now();
    right(Mode::Strict, lines);
    let took = start.elapsed();
    assert!(took < std::time::Duration::from_secs(1), "{took:?}");
}
