//! A caller's way from Redis's answer that another has the lock to a grant, or to giving up.
//!
//! Rules:
//! 1. A caller asks again when the holder's lease is over, and once a second in any case: that keeps
//!    its place in the queue, and makes good for whatever was lost.
//! 2. While hand-overs are not heard, it asks every 10 to 250 ms. It keeps its place, and is handed
//!    the lock without being told.
//! 3. Who waits is not told of a hiccup of a second: it asks again, at the end of the queue. Nor of a
//!    slot that moves from one node of a cluster to another, however long that takes.
//! 4. Whoever stops waiting leaves the queue. If the lock was its already, the next gets it.

use std::sync::Arc;
use std::time::Duration;

use cache_core::{LockError, LockErrorKind, LockGuard, LockOptions, Timestamp};
use tokio::sync::watch;

use super::acquire::{Request, Tried, abandon, attempt, claim};
use super::hand_over::{HandOver, Turn};
use super::inner::Inner;
use super::release::Job;
use super::script::Place;
use crate::service::shut_down;

/// Who has not asked for so long is not in the queue any more: one who listens, and one who does not
/// and therefore cannot be seen to be gone by its not listening.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(3), Duration::from_secs(1));
/// Between two questions of a caller in the queue: this, and up to a tenth more.
const REFRESH: Duration = Duration::from_secs(1);
/// Without listening: the first pause between two questions, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(250));

/// A caller that waits already goes on while Redis does not answer for so long.
const HICCUP: Duration = Duration::from_secs(1);

/// What ends a pause.
enum Woken {
    Closed,
    /// Ours, it is said.
    Turn(HandOver),
    /// Ask again.
    Time,
}

/// One caller in the queue: rule 4.
struct Waiter<'a> {
    inner: &'a Arc<Inner>,
    request: &'a Request,
    /// Is in the queue, or may come there.
    queued: bool,
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        if self.queued {
            self.inner.leave(self.request, PATIENCE.0);
        }
    }
}

/// Waits behind the gate until Redis grants the lock, with no other task of this process in front.
pub(crate) async fn granted(
    inner: &Arc<Inner>,
    mut request: Request,
    options: &LockOptions,
    mut gate: LockGuard,
    deadline: Timestamp,
) -> Result<LockGuard, LockError> {
    let mut heard = Heard::default();
    loop {
        match through_the_queue(inner, &request, options, gate, deadline, &mut heard).await? {
            Ok(guard) => return Ok(guard),
            Err(again) => gate = again,
        }
        // What became of the last token is not known: it is not used again.
        request.anew(inner.token());
    }
}

/// Whether Redis answers a caller.
#[derive(Default)]
struct Heard {
    ever: bool,
    /// Not since then.
    failing: Option<Timestamp>,
    /// How often it was asked since.
    failures: u32,
}

impl Heard {
    /// It has not answered. True if the caller is to go on.
    fn bears(&mut self, now: Timestamp) -> bool {
        self.failures += 1;
        self.ever && self.failing.get_or_insert(now).until(now) < HICCUP
    }

    /// How long until it is asked again.
    fn pause(&self) -> Duration {
        PAUSE.0.saturating_mul(1 << self.failures.saturating_sub(1).min(8)).min(PAUSE.1)
    }
}

/// The same with one token. The gate comes back when Redis has not answered and the caller is to go
/// on.
async fn through_the_queue(
    inner: &Arc<Inner>,
    request: &Request,
    options: &LockOptions,
    mut gate: LockGuard,
    deadline: Timestamp,
    heard: &mut Heard,
) -> Result<Result<LockGuard, LockGuard>, LockError> {
    let clock = &inner.clock;
    let mut turn = inner.hand_overs.turn(&request.token);
    let mut waiter = Waiter { inner, request, queued: false };
    let mut has_waited = false;
    let mut known = inner.known.of(&request.key);
    let mut listening = inner.hand_overs.connected();
    let mut pause = PAUSE.0;
    loop {
        // Asked before each attempt, so that the last one comes at the deadline.
        let last = !clock.is_before(deadline);
        let listens = *listening.borrow_and_update();
        let place = match (last, listens) {
            (true, _) => Place::NONE,
            (false, true) => Place { patience: PATIENCE.0, listens },
            // Also where it will be heard in a moment: who comes meanwhile is to stand behind.
            (false, false) => Place { patience: PATIENCE.1, listens },
        };
        let queue = !place.patience.is_zero();
        waiter.queued |= queue;
        let (left, who);
        match attempt(inner, request, place, deadline, gate).await? {
            Tried::Granted(guard, renewal) => {
                waiter.queued = false;
                if has_waited {
                    // It may have been handed over, and that be told later than this answer.
                    inner.holds.hears(renewal.id, turn);
                }
                return Ok(Ok(guard));
            }
            Tried::Failed { gate: again, error, abandoned, moving } => {
                waiter.queued &= !abandoned;
                let bears = heard.bears(clock.now()) || moving;
                if moving {
                    // An answer, though none to what was asked.
                    (heard.ever, heard.failing) = (true, None);
                }
                known.set(moving);
                if !clock.is_before(deadline) || !bears {
                    return Err(error);
                }
                let wake = (clock.now() + jittered(heard.pause())).min(deadline);
                match inner.pause(wake, &mut turn, &mut listening).await {
                    Woken::Closed => return Err(shut_down()),
                    // What became of this token is known: it keeps its place, if it has one.
                    _ if !abandoned => gate = again,
                    _ => return Ok(Err(again)),
                }
                continue;
            }
            Tried::Held { gate: again, holder, remaining } => {
                (gate, left, who) = (again, remaining, holder);
            }
        }
        *heard = Heard { ever: true, failing: None, failures: 0 };
        known.set(true);
        waiter.queued = queue || request.may_come_late();
        has_waited = true;
        // Also one that was sent in time: another would go beyond the wait for a second time.
        if !clock.is_before(deadline) {
            let wait = options.wait_duration();
            let message = format!("held by {who} for all of the {wait:?} to wait");
            return Err(LockError::new(LockErrorKind::Timeout, message));
        }
        if turn.has_come() {
            // While it was asked: which came first is not known.
            continue;
        }
        inner.hear_of_hand_overs()?;
        let longest = if listens {
            REFRESH.mul_f64(1.0 + fastrand::f64() / 10.0)
        } else {
            let longest = jittered(pause);
            pause = (pause * 2).min(PAUSE.1);
            longest
        };
        // The holder's lease is over a millisecond after what is left of it.
        let over = left.map_or(longest, |left| left.saturating_add(Duration::from_millis(1)));
        let wake = (clock.now() + longest.min(over)).min(deadline);
        match inner.pause(wake, &mut turn, &mut listening).await {
            Woken::Closed => return Err(shut_down()),
            Woken::Time => {}
            Woken::Turn(hand_over) => match claim(inner, request, hand_over, gate) {
                Ok(guard) => {
                    waiter.queued = false;
                    return Ok(Ok(guard));
                }
                Err(again) => gate = again,
            },
        }
    }
}

/// Half of it to all of it.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.5 + fastrand::f64() / 2.0)
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
    /// Waits until something is said, or it is time to ask again.
    async fn pause(
        &self,
        until: Timestamp,
        turn: &mut Turn,
        listening: &mut watch::Receiver<bool>,
    ) -> Woken {
        let mut closed = self.closed.subscribe();
        tokio::select! {
            biased;
            _ = closed.wait_for(|closed| *closed) => Woken::Closed,
            hand_over = turn.come() => Woken::Turn(hand_over),
            () = news(listening) => Woken::Time,
            () = self.clock.sleep_until(until) => Woken::Time,
        }
    }

    /// Gives up a place in the queue, in the background.
    pub(crate) fn leave(&self, request: &Request, patience: Duration) {
        if request.may_come_late() {
            return abandon(self, request, patience);
        }
        let (names, token) = (Arc::clone(&request.names), request.token.clone());
        let until = self.clock.now() + patience;
        // The releaser ends with its runtime; then the place is lost by itself.
        let pending = self.backlog.pending();
        let _ = self.jobs.send(Job::Leave { names, token, until, pending });
    }
}
