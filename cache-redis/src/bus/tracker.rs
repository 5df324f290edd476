//! What was lost on the way, as the senders' numbers tell. `numbers.rs` has the other end.
//!
//! Rules:
//!
//! 1. A number that is passed over may come yet: it is lost when it has not come for a while, or
//!    when a mark says that it was published before. In a cluster marks, too, overtake messages.
//! 2. Of a sender that was not heard before the numbers say nothing, but for how long ago the one
//!    before was: if that was after the subscription began, it should have been heard.
//! 3. The table of senders is bounded. Whoever is forgotten counts as not heard before, and what he
//!    said until then as said before the subscription.
//! 4. Each subscription begins anew. So does each loss, which makes everybody forget everything.

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
    highest: u64,
    /// Lower ones that were not heard, and since when.
    missing: BTreeMap<u64, Instant>,
    heard: Instant,
}

/// Whether something was lost for sure.
type Lost = bool;

impl Tracker {
    pub(super) fn new(patience: Duration, in_order: bool) -> Self {
        Self { state: Mutex::default(), patience, in_order, changed: Notify::new() }
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
        let Some(known) = state.senders.get_mut(&from) else {
            let mut known = Known::new(place.number, now);
            if place.number > 1 && place.ago.is_some_and(|ago| was_after(since, ago, now)) {
                known.missing.insert(place.number - 1, now);
                self.changed.notify_one();
            }
            state.remember(from, known);
            return false;
        };
        known.heard = now;
        if place.number <= known.highest {
            known.missing.remove(&place.number);
            return false;
        }
        let lost = !known.passes_over(place.number, &[], now);
        known.highest = place.number;
        if lost {
            state.begin_anew();
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
        let known = match state.senders.get_mut(&from) {
            Some(known) => known,
            None => {
                let mut known = Known::new(*last, now);
                if !void.contains(last) && was_after(since, *ago, now) {
                    known.missing.insert(*last, now);
                }
                state.remember(from, known);
                match state.senders.get_mut(&from) {
                    Some(known) => known,
                    None => return false,
                }
            }
        };
        known.heard = now;
        known.missing.retain(|number, _| !void.contains(number));
        let mut lost = false;
        if *last > known.highest {
            lost = !known.passes_over(last.saturating_add(1), void, now);
            known.highest = *last;
        }
        lost |= self.in_order && known.missing.range(..=last).next().is_some();
        if lost {
            state.begin_anew();
        } else {
            self.changed.notify_one();
        }
        lost
    }

    /// Waits until a number has been missing for too long: the number of its subscription.
    pub(super) async fn overdue(&self) -> u64 {
        loop {
            let due = self.state.lock().missing_since().map(|since| since + self.patience);
            match due {
                None => self.changed.notified().await,
                Some(due) if due <= Instant::now() => {
                    let mut state = self.state.lock();
                    state.begin_anew();
                    return state.number;
                }
                Some(due) => tokio::select! {
                    () = self.changed.notified() => {}
                    () = tokio::time::sleep_until(due) => {}
                },
            }
        }
    }
}

impl State {
    fn missing_since(&self) -> Option<Instant> {
        self.senders.values().flat_map(|known| known.missing.values()).min().copied()
    }

    /// Everybody empties what he keeps: nothing is missing any more.
    fn begin_anew(&mut self) {
        self.senders.values_mut().for_each(|known| known.missing.clear());
    }

    fn remember(&mut self, from: Sender, known: Known) {
        if self.senders.len() >= MOST_SENDERS {
            let quietest = self.senders.iter().min_by_key(|(_, known)| known.heard);
            if let Some((&quietest, known)) = quietest {
                self.since = self.since.max(Some(known.heard));
                self.senders.remove(&quietest);
            }
        }
        self.senders.insert(from, known);
    }
}

impl Known {
    fn new(highest: u64, heard: Instant) -> Self {
        Self { highest, missing: BTreeMap::new(), heard }
    }

    /// What is between the highest number and this one is missing, unless it is void. False if that
    /// is too much.
    fn passes_over(&mut self, next: u64, void: &[u64], now: Instant) -> bool {
        let between = self.highest + 1..next;
        let room = MOST_MISSING - self.missing.len();
        if next - between.start > (room + void.len()) as u64 {
            return false;
        }
        let missing = between.filter(|number| !void.contains(number));
        self.missing.extend(missing.map(|number| (number, now)));
        self.missing.len() <= MOST_MISSING
    }
}

/// Whether `ago` was after `since`.
fn was_after(since: Option<Instant>, ago: Duration, now: Instant) -> bool {
    match (since, now.checked_sub(ago)) {
        (Some(since), Some(then)) => then > since,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const A: Sender = Sender::of(1);
    const PATIENCE: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_secs(3_600);

    fn tracker(in_order: bool) -> Tracker {
        let tracker = Tracker::new(PATIENCE, in_order);
        tracker.begin(1);
        tracker.confirmed(1, Instant::now());
        tracker
    }

    fn heard(tracker: &Tracker, number: u64) -> Lost {
        tracker.heard(1, A, Place { number, ago: Some(LONG) }, Instant::now())
    }

    fn marked(tracker: &Tracker, last: u64, void: &[u64]) -> Lost {
        let mark = Mark { last, ago: LONG, void: void.to_vec() };
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
        assert!(!tracker(true).marked(1, A, &Mark { void: vec![5], ..mark.clone() }, later));
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
}
