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
//!    said until then as said before the subscription. One of whom something is missing is forgotten
//!    last, and what is missing of him is lost then.
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
        let forgotten = state.make_room_for(from);
        let since = state.since;
        let known = state.known(from, || Known::new(place.number, now));
        known.heard = now;
        let lost = place.number > known.highest && !known.passes_over(place.number, &[], now);
        known.highest = known.highest.max(place.number);
        known.accounts_for(place.number, is_suspect(place.ago, since, now), now);
        if lost {
            state.forget(from, u64::MAX, now, self.budget);
        } else if forgotten {
            state.begin_anew(now, self.budget);
        } else {
            self.changed.notify_one();
        }
        lost || forgotten
    }

    /// A mark has come.
    pub(super) fn marked(&self, number: u64, from: Sender, mark: &Mark, now: Instant) -> Lost {
        let Mark { last, ago, void } = mark;
        let mut state = self.state.lock();
        if state.number != number {
            return false;
        }
        let forgotten = state.make_room_for(from);
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
        } else if forgotten {
            state.begin_anew(now, self.budget);
        } else {
            self.changed.notify_one();
        }
        lost || forgotten
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
        self.senders.entry(from).or_insert_with(new)
    }

    /// Rule 3. True if something was missing of whoever is forgotten.
    fn make_room_for(&mut self, from: Sender) -> Lost {
        if self.senders.len() < MOST_SENDERS || self.senders.contains_key(&from) {
            return false;
        }
        let order = |known: &Known| (!known.missing.is_empty(), known.heard);
        let quietest = self.senders.iter().min_by_key(|(_, known)| order(known));
        let Some((&quietest, known)) = quietest else { return false };
        let lost = !known.missing.is_empty();
        self.since = self.since.max(Some(known.heard));
        self.senders.remove(&quietest);
        lost
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
#[path = "tracker_tests.rs"]
mod tests;
