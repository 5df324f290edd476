//! What is missed, told from numbers alone.

use futures_util::FutureExt;

use super::super::numbers::Numbers;
use super::*;

const A: Sender = Sender::of(1);
const PATIENCE: Duration = Duration::from_millis(50);
const LONG: Duration = Duration::from_secs(3_600);

fn tracker(in_order: bool) -> Tracker {
    let tracker = Tracker::new(PATIENCE, PATIENCE, in_order);
    tracker.begin(1);
    tracker.confirmed(1, Instant::now());
    tracker
}

fn heard(tracker: &Tracker, number: u64) -> Lost {
    tracker.heard(1, A, Place { number, ago: Some(LONG) }, Instant::now())
}

fn marked(tracker: &Tracker, last: u64, void: &[u64]) -> Lost {
    let void = void.iter().map(|&number| Place { number, ago: None }).collect();
    let mark = Mark { last, ago: LONG, void };
    tracker.marked(1, A, &mark, Instant::now())
}

fn is_complete(tracker: &Tracker) -> bool {
    tracker.state.lock().missing_since().is_none()
}

#[test]
fn order_and_repetition_do_not_matter() {
    for in_order in [true, false] {
        let tracker = tracker(in_order);
        for number in [7, 8, 8, 10, 7, 12, 9, 11, 10] {
            assert!(!heard(&tracker, number));
        }
        assert!(is_complete(&tracker));
        assert!(!marked(&tracker, 12, &[]) && !marked(&tracker, 11, &[]));
    }
}

#[tokio::test]
async fn what_does_not_come_is_lost() {
    let tracker = tracker(true);
    assert!(!heard(&tracker, 7) && !heard(&tracker, 9));
    let since = Instant::now();
    assert_eq!(tracker.overdue().await, 1);
    assert!(since.elapsed() >= PATIENCE / 2);
    // Once, and never again.
    assert!(!heard(&tracker, 10) && !heard(&tracker, 8) && is_complete(&tracker));
    assert_eq!(tracker.overdue().now_or_never(), None);
    // So much is not overtaken.
    assert!(heard(&tracker, 11 + MOST_MISSING as u64 + 1));
    assert!(heard(&tracker, u64::MAX) && is_complete(&tracker));
    assert!(!marked(&tracker, u64::MAX, &[]));
}

#[test]
fn a_mark_says_that_the_last_ones_were_lost() {
    let tracker = tracker(true);
    assert!(!heard(&tracker, 7) && !marked(&tracker, 7, &[]));
    assert!(marked(&tracker, 8, &[]));
    assert!(!marked(&tracker, 8, &[]), "once");
    // One that is missing and was published before.
    assert!(!heard(&tracker, 10) && !marked(&tracker, 8, &[]));
    assert!(marked(&tracker, 9, &[]));
    // Those that were not published are not missed.
    assert!(!heard(&tracker, 13) && !marked(&tracker, 15, &[11, 12, 14, 15]));
    assert!(is_complete(&tracker));
    assert!(marked(&tracker, u64::MAX, &[16]));
}

#[tokio::test]
async fn in_a_cluster_a_mark_may_overtake() {
    let tracker = tracker(false);
    assert!(!heard(&tracker, 7) && !marked(&tracker, 9, &[]));
    assert!(!heard(&tracker, 8) && !is_complete(&tracker));
    assert!(!heard(&tracker, 9) && is_complete(&tracker));
    assert!(!marked(&tracker, 10, &[]));
    assert_eq!(tracker.overdue().await, 1);
}

/// Rule 2.
#[test]
fn the_first_message_of_a_sender_is_missed_too() {
    let now = Instant::now();
    let before = |ago| Place { number: 5, ago };
    let recent = Some(Duration::from_millis(1));
    let later = now + Duration::from_secs(1);
    for (place, missing) in [
        (before(None), false),
        (before(Some(LONG)), false),
        (before(recent), true),
        (Place { number: 1, ago: recent }, false),
    ] {
        let tracker = tracker(true);
        assert!(!tracker.heard(1, A, place, later));
        assert_eq!(is_complete(&tracker), !missing, "{place:?}");
    }
    let mark = Mark { last: 5, ago: Duration::from_millis(1), void: Vec::new() };
    assert!(tracker(true).marked(1, A, &mark, later));
    let void = vec![Place { number: 5, ago: Some(LONG) }];
    assert!(!tracker(true).marked(1, A, &Mark { void, ..mark.clone() }, later));
    assert!(!tracker(true).marked(1, A, &Mark { ago: LONG, ..mark }, later));
}

#[test]
fn another_subscription_knows_nobody() {
    let tracker = tracker(true);
    assert!(!heard(&tracker, 7));
    tracker.begin(2);
    assert!(!heard(&tracker, 9), "of the one before");
    tracker.confirmed(2, Instant::now());
    let place = Place { number: 9, ago: Some(LONG) };
    assert!(!tracker.heard(2, A, place, Instant::now()) && is_complete(&tracker));
}

#[test]
fn the_quietest_sender_is_forgotten_and_not_suspected_later() {
    let (tracker, start) = (tracker(true), Instant::now());
    let at = |second: u64| start + Duration::from_secs(second);
    let most = MOST_SENDERS as u64;
    for sender in 0..=most {
        let place = Place { number: 7, ago: Some(LONG) };
        assert!(!tracker.heard(1, Sender::of(sender), place, at(sender + 1)));
    }
    assert_eq!(tracker.state.lock().senders.len(), MOST_SENDERS);
    // The first one spoke at second 1.
    let place = Place { number: 9, ago: Some(Duration::from_secs(most + 9)) };
    assert!(!tracker.heard(1, Sender::of(0), place, at(most + 10)));
    assert!(is_complete(&tracker));
}

/// Rule 3.
#[test]
fn p2_what_is_missing_of_a_sender_who_is_forgotten_is_lost() {
    let (tracker, start) = (tracker(true), Instant::now());
    let at = |millis: u64| start + Duration::from_millis(millis);
    let says = |sender, number, now| {
        tracker.heard(1, Sender::of(sender), Place { number, ago: Some(LONG) }, now)
    };
    let most = MOST_SENDERS as u64;
    for sender in 1..=most {
        assert!(!says(sender, 7, at(sender)));
    }
    assert!(!says(1, 9, at(1)), "8 is missing");
    assert!(!says(most + 1, 7, at(most + 1)));
    assert!(!is_complete(&tracker), "another goes first, of whom nothing is missing");
    for sender in 3..=most + 1 {
        assert!(!says(sender, 9, at(most + sender)));
    }
    assert!(says(most + 2, 7, at(most * 2 + 2)), "what was missing of the first went with him");
}

/// A sender's numbers, a subscription that begins at second 10, and the time.
struct Fleet {
    numbers: Numbers,
    tracker: Tracker,
    start: Instant,
    now: Instant,
}

impl Fleet {
    fn new() -> Self {
        let tracker = Tracker::new(PATIENCE, PATIENCE, true);
        tracker.begin(1);
        let now = Instant::now();
        Self { numbers: Numbers::new(PATIENCE, LONG), tracker, start: now, now }
    }

    fn at(&mut self, second: u64) -> &mut Self {
        self.now = self.start + Duration::from_secs(second);
        if second == 10 {
            self.tracker.confirmed(1, self.now);
        }
        self
    }

    fn give(&self) -> Place {
        self.numbers.next(self.now)
    }

    fn settle(&self, place: Place, void: bool) {
        self.numbers.settle(place.number, void, self.now);
    }

    fn heard(&self, place: Place) -> Lost {
        self.tracker.heard(1, A, place, self.now)
    }

    fn marked(&self) -> Lost {
        let mark = self.numbers.make_mark(self.now).unwrap();
        self.tracker.marked(1, A, &mark, self.now)
    }
}

#[test]
fn p2_a_first_message_is_missed_though_the_second_is_void() {
    for heard_of_before in [false, true] {
        let mut fleet = Fleet::new();
        fleet.at(10);
        let lost = fleet.at(11).give();
        fleet.settle(lost, false);
        let void = fleet.at(12).give();
        if heard_of_before {
            let third = fleet.at(13).give();
            assert!(!fleet.heard(third));
            fleet.settle(third, false);
        }
        fleet.at(14).settle(void, true);
        assert!(fleet.at(15).marked() && !fleet.at(16).marked(), "{heard_of_before}");
    }
}

#[test]
fn p2_a_first_message_is_missed_though_the_third_overtakes_the_second() {
    let mut fleet = Fleet::new();
    fleet.at(10);
    let lost = fleet.at(11).give();
    fleet.settle(lost, false);
    let (second, third) = (fleet.at(12).give(), fleet.give());
    assert!(!fleet.heard(third) && !fleet.heard(second));
    fleet.settle(second, false);
    fleet.settle(third, false);
    assert!(fleet.at(15).marked() && !fleet.at(16).marked());
}

#[test]
fn the_first_messages_of_a_sender_may_come_in_any_order() {
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut fleet = Fleet::new();
        fleet.at(10);
        let places = [fleet.at(11).give(), fleet.give(), fleet.give()];
        for at in order {
            assert!(!fleet.heard(places[at]));
        }
        assert!(is_complete(&fleet.tracker), "{order:?}");
    }
}

#[test]
fn p2_a_first_message_is_missed_though_it_was_numbered_before_the_subscription() {
    for settled_first in [false, true] {
        let mut fleet = Fleet::new();
        let lost = fleet.at(9).give();
        fleet.at(10);
        if settled_first {
            fleet.at(11).settle(lost, false);
        }
        let second = fleet.at(12).give();
        assert!(!fleet.heard(second));
        fleet.settle(second, false);
        if !settled_first {
            fleet.at(13).settle(lost, false);
        }
        assert!(fleet.at(15).marked() && !fleet.at(16).marked(), "{settled_first}");
    }
}

#[test]
fn what_was_told_before_the_subscription_is_not_missed() {
    let mut fleet = Fleet::new();
    for second in [1, 2] {
        let early = fleet.at(second).give();
        fleet.settle(early, false);
    }
    fleet.at(10);
    // Void ones do not make those before them suspect, told at once or together with others.
    let void = fleet.at(11).give();
    fleet.settle(void, true);
    assert!(!fleet.at(12).marked());
    let mut fleet = Fleet::new();
    let early = fleet.at(1).give();
    fleet.settle(early, false);
    fleet.at(10);
    let (void, heard, slow) = (fleet.at(11).give(), fleet.give(), fleet.give());
    assert!(!fleet.heard(heard));
    fleet.settle(heard, false);
    fleet.at(12).settle(void, true);
    assert!(!fleet.at(13).marked() && !fleet.heard(slow));
    fleet.settle(slow, false);
    assert!(!fleet.at(14).marked());
    // What is under way does not make what was told before it look recent.
    let mut fleet = Fleet::new();
    let early = fleet.at(1).give();
    fleet.settle(early, false);
    fleet.at(10);
    let (slow, heard) = (fleet.at(11).give(), fleet.give());
    fleet.settle(heard, false);
    assert!(!fleet.at(12).marked() && !fleet.heard(slow) && !fleet.heard(heard));
    fleet.settle(slow, false);
    assert!(!fleet.at(13).marked());
}
