//! The callers of one MGET, each on a seat of its own until there is an answer.

use std::sync::{Arc, OnceLock};
use std::task::{Poll, Waker};

use cache_core::{CacheError, Timestamp};
use parking_lot::Mutex;
use redis::Value;

pub(super) type Reply = Result<Value, CacheError>;

/// The callers of one MGET, in the order of its keys.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) seats: Mutex<Vec<Seat>>,
    answers: OnceLock<Answers>,
}

#[derive(Debug)]
pub(super) enum Seat {
    Waits {
        /// Up to some milliseconds early, as the cheap clock is.
        since: Timestamp,
        waker: Waker,
    },
    /// Its time is up.
    Late,
    /// Its caller went away.
    Empty,
}

#[derive(Debug)]
pub(super) enum Answers {
    /// One for each seat, to be taken.
    Values(Vec<Mutex<Value>>),
    /// The same for all.
    Every(Reply),
    /// Nobody reads for them: each is to read for itself.
    Never,
}

/// One caller's seat in a batch.
pub(super) struct Ticket {
    pub(super) batch: Arc<Batch>,
    pub(super) seat: usize,
}

pub(super) enum Answer {
    Reply(Reply),
    Late,
    Never,
}

impl Ticket {
    pub(super) fn poll(&self, waker: &Waker) -> Poll<Answer> {
        if let Some(answer) = self.answer() {
            return Poll::Ready(answer);
        }
        let mut seats = self.batch.seats.lock();
        // Rule 6 of the batches.
        if let Some(answer) = self.answer() {
            return Poll::Ready(answer);
        }
        match &mut seats[self.seat] {
            Seat::Waits { waker: left, .. } => {
                left.clone_from(waker);
                Poll::Pending
            }
            Seat::Late | Seat::Empty => Poll::Ready(Answer::Late),
        }
    }

    fn answer(&self) -> Option<Answer> {
        Some(match self.batch.answers.get()? {
            Answers::Values(values) => match values.get(self.seat) {
                Some(value) => Answer::Reply(Ok(std::mem::replace(&mut *value.lock(), Value::Nil))),
                None => Answer::Never,
            },
            Answers::Every(reply) => Answer::Reply(reply.clone()),
            Answers::Never => Answer::Never,
        })
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.batch.answers.get().is_none()
            // None are left if the answers have come meanwhile.
            && let Some(seat) = self.batch.seats.lock().get_mut(self.seat)
        {
            *seat = Seat::Empty;
        }
    }
}

impl Batch {
    /// With the first of about so many seats.
    pub(super) fn of(first: Seat, about: usize) -> Self {
        let mut seats = Vec::with_capacity(about);
        seats.push(first);
        Self { seats: Mutex::new(seats), answers: OnceLock::new() }
    }

    /// Since when the first has waited of those who do.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        self.seats.lock().iter().find_map(|seat| match seat {
            Seat::Waits { since, .. } => Some(*since),
            Seat::Late | Seat::Empty => None,
        })
    }

    /// Ends the wait of those who have waited since `before` or longer.
    pub(super) fn end_late(&self, before: Timestamp, woken: &mut Vec<Waker>) {
        for seat in &mut *self.seats.lock() {
            if matches!(seat, Seat::Waits { since, .. } if *since <= before) {
                woken.extend(std::mem::replace(seat, Seat::Late).into_waker());
            }
        }
    }

    /// Gives everybody an answer, the first time it is called.
    pub(super) fn settle(&self, answers: Answers) {
        if self.answers.set(answers).is_err() {
            return;
        }
        // Not woken under the lock, which each of them takes.
        let seats = std::mem::take(&mut *self.seats.lock());
        seats.into_iter().filter_map(Seat::into_waker).for_each(Waker::wake);
    }
}

impl Seat {
    fn into_waker(self) -> Option<Waker> {
        match self {
            Self::Waits { waker, .. } => Some(waker),
            Self::Late | Self::Empty => None,
        }
    }
}

impl From<Reply> for Answers {
    fn from(reply: Reply) -> Self {
        match reply {
            Ok(Value::Array(values)) => Self::Values(values.into_iter().map(Mutex::new).collect()),
            // The user may not read one of the keys, or may not do so with others: to be told to
            // whom it concerns.
            Ok(Value::ServerError(error)) if error.code() == "NOPERM" => Self::Never,
            other => Self::Every(other),
        }
    }
}
