//! The numbers of what a bus publishes, so that others notice when something of it is lost.
//!
//! Rules:
//!
//! 1. Each removal that is published has the next number. Messages may overtake each other, for
//!    they travel over several connections.
//! 2. A number is settled once its message has been published, or its publication has failed and
//!    the caller knows. The latter is void: nobody needs to miss it, and whoever called sees to it.
//! 3. A mark names a number up to which all are settled. So whoever hears the mark, and has not
//!    heard one of those, never will.
//! 4. Each number says when the latest below it was published, so that whoever hears of a sender for
//!    the first time knows whether it should have heard something before. Of a void one its mark
//!    says so. One that is under way may be published any moment: then that is now.
//! 5. Marks follow what was published, [`MARKS`] times, and then no more until there is news. The
//!    loss of the last message is noticed by them, the loss of a mark by the next.
//! 6. Nobody waits for a number for ever. One that is under way for longer than a publication may take
//!    is void from then on. If it is published after all, a further number is used up that nobody
//!    can hear: whoever had given it up by then would not miss it, and misses that one instead.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

/// How often a mark is repeated.
const MARKS: u8 = 3;
/// How many void numbers are kept until they are told. Those beyond are missed by others.
pub(super) const MOST_VOID: usize = 256;
/// How soon void numbers are told: before anybody has given up waiting for them.
const VOID_PAUSE: Duration = Duration::from_millis(20);

/// Which of a sender's messages one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) number: u64,
    /// How long before this was told the latest of those below it was published, if one was. Zero
    /// while one is under way.
    pub(crate) ago: Option<Duration>,
}

/// That all numbers up to `last` are settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) last: u64,
    /// How long ago the latest of them was published.
    pub(crate) ago: Duration,
    /// Those among them that were not published.
    pub(crate) void: Vec<Place>,
}

#[derive(Debug)]
pub(super) struct Numbers {
    state: Mutex<State>,
    /// Between marks.
    pause: Duration,
    /// How long one may be under way. Others wait for it no shorter.
    budget: Duration,
    published: AtomicU64,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    last: u64,
    /// And since when.
    under_way: BTreeMap<u64, Instant>,
    /// Settled while a lower one is under way, and when it was published, if it is not void.
    ahead: BTreeMap<u64, Option<Instant>>,
    /// When the latest below all these was published.
    published: Option<Instant>,
    void: VecDeque<Void>,
    marks_left: u8,
    due: Option<Instant>,
}

/// A number that was not published.
#[derive(Debug)]
struct Void {
    number: u64,
    /// When the latest below it was published.
    published: Option<Instant>,
    /// How often it is still to be told.
    left: u8,
}

impl State {
    fn first_under_way(&self) -> Option<u64> {
        self.under_way.first_key_value().map(|(number, _)| *number)
    }

    /// Rule 6.
    fn give_up(&mut self, now: Instant, budget: Duration) {
        while let Some(first) = self.under_way.first_entry()
            && now.saturating_duration_since(*first.get()) >= budget
        {
            let (number, _) = first.remove_entry();
            self.ahead.insert(number, None);
        }
        self.pass();
    }

    /// Below what is under way nothing changes any more.
    fn pass(&mut self) {
        let first = self.first_under_way().unwrap_or(u64::MAX);
        while let Some(settled) = self.ahead.first_entry().filter(|it| *it.key() < first) {
            let (number, published) = settled.remove_entry();
            if published.is_some() {
                self.published = self.published.max(published);
                continue;
            }
            if self.void.len() == MOST_VOID {
                self.void.pop_front();
            }
            self.void.push_back(Void { number, published: self.published, left: MARKS });
        }
    }
}

impl Numbers {
    pub(super) fn new(pause: Duration, budget: Duration) -> Self {
        Self {
            state: Mutex::default(),
            pause,
            budget,
            published: AtomicU64::new(0),
            changed: Notify::new(),
        }
    }

    /// How many messages have been published.
    pub(super) fn published(&self) -> u64 {
        self.published.load(Ordering::Relaxed)
    }

    /// Whether a message may have this number.
    pub(super) fn has_given(&self, number: u64) -> bool {
        number <= self.state.lock().last
    }

    pub(super) fn next(&self, now: Instant) -> Place {
        let mut state = self.state.lock();
        state.last += 1;
        let number = state.last;
        let ago = match state.under_way.is_empty() {
            true => state.published.map(|published| now.duration_since(published)),
            false => Some(Duration::ZERO),
        };
        state.under_way.insert(number, now);
        Place { number, ago }
    }

    pub(super) fn settle(&self, number: u64, void: bool, now: Instant) {
        let mut state = self.state.lock();
        state.give_up(now, self.budget);
        if state.under_way.remove(&number).is_some() {
            state.ahead.insert(number, (!void).then_some(now));
        } else if !void {
            state.last += 1;
            let unheard = state.last;
            state.ahead.insert(unheard, Some(now));
        }
        state.pass();
        state.marks_left = MARKS;
        let mut due = now + self.pause;
        if void {
            due = due.min(now + VOID_PAUSE);
        } else {
            self.published.fetch_add(1, Ordering::Relaxed);
        }
        if state.due.is_none_or(|already| due < already) {
            state.due = Some(due);
            drop(state);
            self.changed.notify_one();
        }
    }

    /// Waits until it is time for a mark, and gives it.
    pub(super) async fn mark(&self) -> Mark {
        loop {
            let due = self.state.lock().due;
            match due {
                None => self.changed.notified().await,
                Some(due) if due <= Instant::now() => {
                    if let Some(mark) = self.make_mark(Instant::now()) {
                        return mark;
                    }
                }
                Some(due) => tokio::select! {
                    () = self.changed.notified() => {}
                    () = tokio::time::sleep_until(due) => {}
                },
            }
        }
    }

    pub(super) fn make_mark(&self, now: Instant) -> Option<Mark> {
        let mut state = self.state.lock();
        // Said again until it is sent.
        state.due = Some(now + self.pause);
        state.give_up(now, self.budget);
        let last = state.first_under_way().map_or(state.last, |first| first - 1);
        if last == 0 {
            return None;
        }
        let ago = |published: Option<Instant>| published.map(|then| now.duration_since(then));
        let void =
            state.void.iter().map(|void| Place { number: void.number, ago: ago(void.published) });
        // None was published: longer ago than anything.
        let last_ago = ago(state.published).unwrap_or(Duration::MAX);
        Some(Mark { last, ago: last_ago, void: void.collect() })
    }

    /// This mark was published.
    pub(super) fn marked(&self, mark: &Mark) {
        let mut state = self.state.lock();
        for void in &mut state.void {
            void.left -= u8::from(void.number <= mark.last);
        }
        state.void.retain(|void| void.left > 0);
        // What is under way, or was settled meanwhile, is news.
        if mark.last == state.last {
            state.marks_left = state.marks_left.saturating_sub(1);
        }
        if state.marks_left == 0 && state.void.is_empty() {
            state.due = None;
        }
    }
}

/// Numbers that are given to messages. Dropped before those are published, they are void.
#[derive(Debug)]
pub(super) struct Given {
    numbers: Arc<Numbers>,
    open: VecDeque<u64>,
}

impl Given {
    pub(super) fn new(numbers: &Arc<Numbers>) -> Self {
        Self { numbers: Arc::clone(numbers), open: VecDeque::new() }
    }

    /// The next number, for the next message.
    pub(super) fn next(&mut self) -> Place {
        let place = self.numbers.next(Instant::now());
        self.open.push_back(place.number);
        place
    }

    /// The first message that was not published yet has been.
    pub(super) fn told_one(&mut self) {
        if let Some(number) = self.open.pop_front() {
            self.numbers.settle(number, false, Instant::now());
        }
    }

    pub(super) fn told(mut self) {
        while !self.open.is_empty() {
            self.told_one();
        }
    }
}

impl Drop for Given {
    fn drop(&mut self) {
        let now = Instant::now();
        for number in self.open.drain(..) {
            self.numbers.settle(number, true, now);
        }
    }
}

#[cfg(test)]
#[path = "numbers_tests.rs"]
mod tests;
