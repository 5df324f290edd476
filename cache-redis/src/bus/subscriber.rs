//! What a bus hears, made into events.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cache_core::{Clock, Timestamp};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::hub::Hub;
use super::message::{Heard, Name, read};
use super::numbers::Numbers;
use super::tracker::Tracker;
use crate::channel::Hears;

/// At most one line in this time about messages that are lost again and again.
const BETWEEN_LINES: Duration = Duration::from_secs(60);

/// What the task that listens and the bus share.
#[derive(Debug)]
pub(super) struct Ear {
    pub(super) name: Arc<Name>,
    pub(super) numbers: Arc<Numbers>,
    pub(super) hub: Arc<Hub>,
    pub(super) tracker: Tracker,
    pub(super) received: AtomicU64,
    pub(super) own: AtomicU64,
    pub(super) unreadable: AtomicU64,
    /// How long after a question that is answered the server is taken to be there: by then it has
    /// answered the next one, or the subscription is lost.
    bound: Duration,
    /// When the last heartbeat was sent that was answered, in microseconds; 0 before the first.
    asked: AtomicU64,
    /// How long its answer took, in microseconds.
    answer: AtomicU64,
    /// When it was last said that messages were lost.
    said: Mutex<Option<Instant>>,
}

impl Ear {
    pub(super) fn new(numbers: Arc<Numbers>, tracker: Tracker, bound: Duration) -> Self {
        Self {
            name: Arc::new(Name::draw()),
            numbers,
            hub: Arc::default(),
            tracker,
            received: AtomicU64::new(0),
            own: AtomicU64::new(0),
            unreadable: AtomicU64::new(0),
            bound,
            asked: AtomicU64::new(0),
            answer: AtomicU64::new(0),
            said: Mutex::default(),
        }
    }

    /// Watches for messages that do not come.
    pub(super) async fn watch(self: Arc<Self>) {
        loop {
            let number = self.tracker.overdue().await;
            self.missed(number);
        }
    }

    /// Something that others published was lost on the way to this subscription.
    fn missed(&self, number: u64) {
        if !self.hub.missed(number) {
            return;
        }
        let now = Instant::now();
        let mut said = self.said.lock();
        if said.is_none_or(|said| now - said >= BETWEEN_LINES) {
            *said = Some(now);
            let times = self.hub.gaps.load(Ordering::Relaxed);
            tracing::warn!(
                times,
                "removals by other nodes may have been lost on the way: all counts as removed"
            );
        }
    }

    /// A message bears this bus's name. If it is not its own, others by that name went unheard.
    fn own(&self, subscription: u64, number: u64) {
        if self.numbers.has_given(number) {
            return;
        }
        self.name.draw_anew();
        if self.hub.missed(subscription) {
            tracing::warn!(
                "another process tells of removals under this one's name, as a copy of it does: \
                 it takes another, and all counts as removed"
            );
        }
    }

    /// See [`BusStats::lag`](super::BusStats::lag).
    pub(super) fn lag(&self) -> Option<Duration> {
        let asked = match self.asked.load(Ordering::Acquire) {
            0 => return None,
            asked => Timestamp::from_micros(asked),
        };
        Some(match self.hub.is_connected() {
            true => Duration::from_micros(self.answer.load(Ordering::Acquire)),
            false => asked.until(Clock::system().now()),
        })
    }
}

impl Hears for Ear {
    const WHAT: &'static str = "removals by other nodes";

    fn begin(&self) -> u64 {
        let number = self.hub.begin();
        self.tracker.begin(number);
        number
    }

    fn confirmed(&self, number: u64) -> bool {
        // Before anybody keeps what a removal from now on should make them forget.
        let now = Instant::now();
        let news = self.hub.confirmed(number);
        if news {
            self.tracker.confirmed(number, now);
        }
        news
    }

    fn message(&self, number: u64, bytes: &[u8]) {
        match read(self.name.get(), bytes) {
            Heard::Event(event, place) => {
                self.received.fetch_add(1, Ordering::Relaxed);
                self.hub.heard(number, &event);
                let lost = place.is_some_and(|(from, place)| {
                    self.tracker.heard(number, from, place, Instant::now())
                });
                if lost {
                    self.missed(number);
                }
            }
            Heard::Mark(from, mark) => {
                if self.tracker.marked(number, from, &mark, Instant::now()) {
                    self.missed(number);
                }
            }
            Heard::OwnMark(last) => self.own(number, last),
            Heard::Own(own) => {
                self.own.fetch_add(1, Ordering::Relaxed);
                own.into_iter().for_each(|own| self.own(number, own));
            }
            Heard::Unreadable(why) => {
                self.unreadable.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(bytes = bytes.len(), why, "a message was not understood");
            }
        }
    }

    fn up_to(&self, number: u64, then: Timestamp) {
        self.hub.proven(number, then + self.bound);
        let answer = then.until(Clock::system().now()).as_micros();
        self.answer.store(u64::try_from(answer).unwrap_or(u64::MAX), Ordering::Release);
        self.asked.store(then.as_micros(), Ordering::Release);
    }

    fn lost(&self) {
        self.hub.lost();
    }
}
