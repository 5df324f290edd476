//! What a bus hears, made into events.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cache_core::{Clock, Timestamp};

use super::hub::Hub;
use super::message::{Heard, Sender, read};
use crate::channel::Hears;

/// What the task that listens and the bus share.
#[derive(Debug)]
pub(super) struct Ear {
    pub(super) sender: Sender,
    pub(super) hub: Arc<Hub>,
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
}

impl Ear {
    pub(super) fn new(sender: Sender, bound: Duration) -> Self {
        Self {
            sender,
            hub: Arc::default(),
            received: AtomicU64::new(0),
            own: AtomicU64::new(0),
            unreadable: AtomicU64::new(0),
            bound,
            asked: AtomicU64::new(0),
            answer: AtomicU64::new(0),
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
        self.hub.begin()
    }

    fn confirmed(&self, number: u64) -> bool {
        self.hub.confirmed(number)
    }

    fn message(&self, number: u64, bytes: &[u8]) {
        match read(self.sender, bytes) {
            Heard::Event(event) => {
                self.received.fetch_add(1, Ordering::Relaxed);
                self.hub.heard(number, &event);
            }
            Heard::Own => {
                self.own.fetch_add(1, Ordering::Relaxed);
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
