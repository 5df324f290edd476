//! A caller's way from Redis's answer that another has the lock to a grant, or to giving up.
//!
//! Rules:
//! 1. In the queue, a caller asks again when the holder's lease is over, and once a second in any
//!    case: that keeps its place, and makes good for whatever was lost.
//! 2. Out of it, because hand-overs are not heard, it asks every 10 to 250 ms.
//! 3. Whoever stops waiting leaves the queue. If the lock was its already, the next gets it.

use std::sync::Arc;
use std::time::Duration;

use cache_core::{LockError, LockErrorKind, LockGuard, LockOptions, Timestamp};
use tokio::sync::watch;

use super::acquire::{Request, Tried, attempt, claim};
use super::hand_over::{HandOver, Turn};
use super::inner::Inner;
use super::release::Job;
use crate::service::shut_down;

/// Who has not asked for so long is not in the queue any more.
const PATIENCE: Duration = Duration::from_secs(3);
/// Between two questions of a caller in the queue: this, and up to a tenth more.
const REFRESH: Duration = Duration::from_secs(1);
/// Out of the queue: the first pause between two questions, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(250));

/// What ends a wait.
enum Woken {
    Closed,
    /// Ours, it is said.
    Turn(HandOver),
    /// Ask again.
    Time,
}

/// One caller's place: rule 3.
struct Place<'a> {
    inner: &'a Arc<Inner>,
    request: &'a Request,
    turn: Turn,
    queued: bool,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if self.queued {
            self.inner.leave(self.request, PATIENCE);
        }
    }
}

/// Waits behind the gate until Redis grants the lock, with no other task of this process in front.
pub(crate) async fn granted(
    inner: &Arc<Inner>,
    request: &Request,
    options: &LockOptions,
    mut gate: LockGuard,
    deadline: Timestamp,
) -> Result<LockGuard, LockError> {
    let clock = &inner.clock;
    let turn = inner.hand_overs.turn(&request.token);
    let mut place = Place { inner, request, turn, queued: false };
    let (mut closed, mut heard) = (inner.closed.subscribe(), inner.hand_overs.connected());
    let mut pause = PAUSE.0;
    loop {
        // Asked before each attempt, so that the last one comes at the deadline.
        let last = !clock.is_before(deadline);
        let queue = !last && *heard.borrow_and_update();
        place.queued |= queue;
        let patience = if queue { PATIENCE } else { Duration::ZERO };
        let (left, who);
        match attempt(inner, request, patience, gate).await? {
            Tried::Granted(guard) => {
                place.queued = false;
                return Ok(guard);
            }
            Tried::Held { gate: again, holder, remaining } => {
                (gate, left, who) = (again, remaining, holder);
            }
        }
        place.queued = queue;
        if last {
            let wait = options.wait_duration();
            let message = format!("held by {who} for all of the {wait:?} to wait");
            return Err(LockError::new(LockErrorKind::Timeout, message));
        }
        inner.hear_of_hand_overs()?;
        let longest = if queue {
            REFRESH.mul_f64(1.0 + fastrand::f64() / 10.0)
        } else {
            let jittered = pause.mul_f64(0.5 + fastrand::f64() / 2.0);
            pause = (pause * 2).min(PAUSE.1);
            jittered
        };
        // The holder's lease is over a millisecond after what is left of it.
        let over = left.map_or(longest, |left| left.saturating_add(Duration::from_millis(1)));
        let wake = (clock.now() + longest.min(over)).min(deadline);
        let woken = tokio::select! {
            biased;
            _ = closed.wait_for(|closed| *closed) => Woken::Closed,
            hand_over = place.turn.come() => Woken::Turn(hand_over),
            () = news(&mut heard) => Woken::Time,
            () = clock.sleep_until(wake) => Woken::Time,
        };
        match woken {
            Woken::Closed => return Err(shut_down()),
            Woken::Time => {}
            Woken::Turn(hand_over) => match claim(inner, request, hand_over, gate) {
                Ok(guard) => {
                    place.queued = false;
                    return Ok(guard);
                }
                Err(again) => gate = again,
            },
        }
    }
}

/// Until hand-overs are heard that were not heard before.
async fn news(heard: &mut watch::Receiver<bool>) {
    loop {
        if heard.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        if *heard.borrow_and_update() {
            return;
        }
    }
}

impl Inner {
    /// Gives up a place in the queue, in the background.
    pub(crate) fn leave(&self, request: &Request, patience: Duration) {
        let (names, token) = (Arc::clone(&request.names), request.token.clone());
        let until = self.clock.now() + patience;
        // The releaser ends with its runtime; then the place is lost by itself.
        let pending = self.backlog.pending();
        let _ = self.jobs.send(Job::Leave { names, token, until, pending });
    }
}
