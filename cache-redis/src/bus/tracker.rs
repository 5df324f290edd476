//! What was lost on the way, as the senders' numbers tell. `numbers.rs` has the other end.
//!
//! Rules:
//!
//! 1. A number that is passed over may come yet: it is lost when it has not come for a while, or
//!    when a mark says that it was published before. In a cluster marks, too, overtake messages.
//! 2. Of a sender that was not heard before the numbers say nothing, but for when the latest below
//!    them was published: if that was after the subscription began, it should have been heard.
//!    Which one that is, is not said; the one just below is missing then, and says the same of
//!    those below it when it comes, or when a mark says that it is void.
//! 3. The table of senders is bounded. Whoever is forgotten counts as not heard before, and what he
//!    said until then as said before the subscription.
//! 4. Each subscription begins anew. So does each loss, which makes everybody forget everything, but
//!    for what may be under way still: that is not among what is forgotten.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::message::Sender;
use super::numbers::{Mark, Place};

/// How many senders are remembered.
const MOST_SENDERS: usize = 1_024;
/// How many numbers of one may be missing. More than that do not overtake each other.
const MOST_MISSING: usize = 128;

#[derive(Debug)]
pub(super) struct Tracker {
    state: Mutex<State>,
    /// How long a number may be missing.
    patience: Duration,
    /// How long one may be under way before it is published.
    budget: Duration,
    /// Whether messages come in the order in which they were published.
    in_order: bool,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Of the subscription.
    number: u64,
    /// What was published after that by somebody who is not known should have been heard.
    since: Option<Instant>,
    senders: HashMap<Sender, Known>,
}

#[derive(Debug)]
struct Known {
    /// From this one to the highest each was heard, is void or is missing.
    lowest: u64,
    /// The lowest is missing, and may say that something below it is.
    open: bool,
    highest: u64,
    /// Those that were not heard, and since when.
    missing: BTreeMap<u64, Instant>,
    /// While it is open, those below that were heard or are void, and whether something below them
    /// is suspect.
    below: BTreeMap<u64, bool>,
    heard: Instant,
}

/// Whether something was lost for sure.
type Lost = bool;

impl Tracker {
    pub(super) fn new(patience: Duration, budget: Duration, in_order: bool) -> Self {
        let budget = budget.min(patience);
        Self { state: Mutex::default(), patience, budget, in_order, changed: Notify::new() }
    }

    /// A subscription is being made.
    pub(super) fn begin(&self, number: u64) {
        *self.state.lock() = State { number, ..State::default() };
    }

    pub(super) fn confirmed(&self, number: u64, now: Instant) {
        let mut state = self.state.lock();
        if state.number == number {
            state.since = Some(now);
        }
    }

    /// A numbered message has come.
    pub(super) fn heard(&self, number: u64, from: Sender, place: Place, now: Instant) -> Lost {
        let mut state = self.state.lock();
        if state.number != number {
            return false;
        }
        let since = state.since;
        let known = state.known(from, || Known::new(place.number, now));
        known.heard = now;
        let lost = place.number > known.highest && !known.passes_over(place.number, &[], now);
        known.highest = known.highest.max(place.number);
        known.accounts_for(place.number, is_suspect(place.ago, since, now), now);
        if lost {
            state.forget(from, u64::MAX, now, self.budget);
        } else {
            self.changed.notify_one();
        }
        lost
    }

    /// A mark has come.
    pub(super) fn marked(&self, number: u64, from: Sender, mark: &Mark, now: Instant) -> Lost {
        let Mark { last, ago, void } = mark;
        let mut state = self.state.lock();
        if state.number != number {
            return false;
        }
        let since = state.since;
        let known =
            state.known(from, || Known::up_to(*last, is_suspect(Some(*ago), since, now), now));
        known.heard = now;
        let mut lost = false;
        if *last > known.highest {
            lost = !known.passes_over(last.saturating_add(1), void, now);
            known.highest = *last;
        }
        // From above, for each may make one below it missing.
        let mut void = void.clone();
        void.sort_unstable_by_key(|place| Reverse(place.number));
        for place in void {
            known.accounts_for(place.number, is_suspect(place.ago, since, now), now);
        }
        lost |= self.in_order && known.missing.range(..=last).next().is_some();
        if lost {
            state.forget(from, *last, now, self.budget);
        } else {
            self.changed.notify_one();
        }
        lost
    }

    /// Waits until a number has been missing for too long: the number of its subscription.
    pub(super) async fn overdue(&self) -> u64 {
        loop {
            match self.look(Instant::now()) {
                Ok(number) => return number,
                Err(None) => self.changed.notified().await,
                Err(Some(due)) => tokio::select! {
                    () = self.changed.notified() => {}
                    () = tokio::time::sleep_until(due) => {}
                },
            }
        }
    }

    /// Whether a number has been missing for too long; if not, when to look again.
    fn look(&self, now: Instant) -> Result<u64, Option<Instant>> {
        let mut state = self.state.lock();
        let due = state.missing_since().map(|since| since + self.patience);
        if due.is_none_or(|due| due > now) {
            return Err(due);
        }
        state.begin_anew(now, self.budget);
        Ok(state.number)
    }
}

impl State {
    fn missing_since(&self) -> Option<Instant> {
        self.senders.values().flat_map(|known| known.missing.values()).min().copied()
    }

    /// Everybody empties what he keeps, so what was published before is missing no more. What was
    /// missed only just now may be published yet.
    fn begin_anew(&mut self, now: Instant, budget: Duration) {
        self.since = self.since.max(Some(now));
        for known in self.senders.values_mut() {
            known.missing.retain(|_, since| now.saturating_duration_since(*since) < budget);
            if !known.missing.contains_key(&known.lowest) {
                known.close();
            }
        }
    }

    /// As [`begin_anew`](Self::begin_anew), and none of this sender up to `last` is waited for.
    fn forget(&mut self, from: Sender, last: u64, now: Instant, budget: Duration) {
        if let Some(known) = self.senders.get_mut(&from) {
            known.missing.retain(|number, _| *number > last);
        }
        self.begin_anew(now, budget);
    }

    fn known(&mut self, from: Sender, new: impl FnOnce() -> Known) -> &mut Known {
        if !self.senders.contains_key(&from) {
            self.make_room();
        }
        self.senders.entry(from).or_insert_with(new)
    }

    fn make_room(&mut self) {
        if self.senders.len() >= MOST_SENDERS {
            let quietest = self.senders.iter().min_by_key(|(_, known)| known.heard);
            if let Some((&quietest, known)) = quietest {
                self.since = self.since.max(Some(known.heard));
                self.senders.remove(&quietest);
            }
        }
    }
}

impl Known {
    /// Of a sender whose first message this is, about to be [accounted for](Self::accounts_for).
    fn new(number: u64, now: Instant) -> Self {
        let missing = BTreeMap::from([(number, now)]);
        let below = BTreeMap::new();
        Self { lowest: number, open: true, highest: number, missing, below, heard: now }
    }

    /// Of a sender of whom a mark is heard first: from there on.
    fn up_to(last: u64, is_suspect: bool, now: Instant) -> Self {
        let (missing, below) = (BTreeMap::new(), BTreeMap::new());
        let lowest = last.saturating_add(1);
        let mut known = Self { lowest, open: false, highest: last, missing, below, heard: now };
        known.go_down(is_suspect, now);
        known
    }

    /// A number was heard, or is void; `is_suspect`: something below it should have been heard.
    fn accounts_for(&mut self, number: u64, is_suspect: bool, now: Instant) {
        if number >= self.lowest {
            if self.missing.remove(&number).is_some() && self.open && number == self.lowest {
                self.go_down(is_suspect, now);
            }
        } else if self.open && self.below.len() < MOST_MISSING {
            self.below.insert(number, is_suspect);
        }
    }

    /// The lowest is accounted for: which is to be the lowest now.
    fn go_down(&mut self, mut is_suspect: bool, now: Instant) {
        while is_suspect && self.lowest > 1 {
            self.lowest -= 1;
            match self.below.remove(&self.lowest) {
                Some(suspects) => is_suspect = suspects,
                None => {
                    self.missing.insert(self.lowest, now);
                    self.open = true;
                    return;
                }
            }
        }
        self.close();
    }

    /// Nothing below the lowest should have been heard.
    fn close(&mut self) {
        self.open = false;
        self.below.clear();
    }

    /// What is between the highest number and this one is missing, unless it is void. False if that
    /// is too much.
    fn passes_over(&mut self, next: u64, void: &[Place], now: Instant) -> bool {
        let between = self.highest + 1..next;
        let room = MOST_MISSING.saturating_sub(self.missing.len());
        if next - between.start > (room + void.len()) as u64 {
            return false;
        }
        let is_void = |number| void.iter().any(|void| void.number == number);
        let missing = between.filter(|number| !is_void(*number));
        self.missing.extend(missing.map(|number| (number, now)));
        self.missing.len() <= MOST_MISSING
    }
}

/// Whether what was published so long ago should have been heard.
fn is_suspect(ago: Option<Duration>, since: Option<Instant>, now: Instant) -> bool {
    match (since, ago.and_then(|ago| now.checked_sub(ago))) {
        (Some(since), Some(then)) => then > since,
        _ => false,
    }
}

#[cfg(test)]
#[path = "tracker_check.rs"]
mod check;

#[cfg(test)]
mod tests {
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
            Self { numbers: Numbers::new(PATIENCE), tracker, start: now, now }
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
}
