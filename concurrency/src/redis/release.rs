//! The task that gives locks back, so that dropping a guard neither blocks nor needs a runtime.
//!
//! Rules:
//! 1. It runs until the last sender is gone and everything is given back or has run out.
//! 2. A caller hears of the first answer; a break in mid-reply is asked again at once, and then
//!    "not yours" means that the first had worked.
//! 3. What Redis does not answer, or does not do for now, is asked again until the lease has run out by itself.
//!    An attempt to acquire that does not name the latest time for it has no such end: a server that hangs
//!    finds it whenever it goes on. So that is asked for until there is an answer, while there is a service.
//! 4. Each repetition has twice the time of the one before: a Redis whose answers take longer than usual is
//!    asked a few times, and not for ever.
//! 5. The gate opens after the first answer: the next of this process finds the lock free.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use cache_core::{CacheError, Clock, ErrorKind, LockError, LockErrorKind, LockGuard, Timestamp};
use cache_redis::Sent;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::time::timeout;

use super::error::{may_run, unavailable};
use super::hand_over::Turn;
use super::names::Names;
use super::script::Redis;
use crate::stats::{Counters, bump};

/// Between attempts: the first pause, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(500));
/// An attempt to acquire whose reply was lost may still wait in a connection that is broken for
/// us, and be served after what was sent later. So it is taken back more than once. Where the server's
/// clock is known it does nothing after its caller's time; elsewhere, this is all there is.
const AGAIN: [Duration; 3] = [Duration::ZERO, Duration::from_millis(250), Duration::from_secs(2)];
/// Redis is asked again about so much at a time; the rest waits for its turn.
const AT_A_TIME: usize = 1_024;
/// So many attempts are followed in all; beyond that the leases run out by themselves.
const FOLLOWED: usize = 65_536;
/// The longest time for one question, unless the usual one is longer.
const LONGEST: Duration = Duration::from_secs(2);

/// What is to be given back.
pub(crate) enum Job {
    Release {
        names: Arc<Names>,
        token: String,
        /// When it is over without us.
        until: Timestamp,
        gate: Option<LockGuard>,
        /// Hears until then what would be a stray.
        turn: Option<Turn>,
        /// Whether its lease is known to have been over, and counted as lost.
        lost: bool,
        /// What a copy of the question it was acquired with may do yet.
        late: Late,
        told: oneshot::Sender<Result<(), LockError>>,
        pending: Pending,
    },
    /// Perhaps in the queue, or handed the lock just now.
    Leave { names: Arc<Names>, token: String, until: Timestamp, pending: Pending },
    /// Perhaps acquired, or to be acquired yet; nobody knows. Until then it matters in any case.
    Abandon { names: Arc<Names>, token: String, until: Timestamp, late: Late, pending: Pending },
}

/// What a copy of a question that has its answer may do when it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Late {
    /// There is none.
    Never,
    /// It is done if it comes in time, by the server's clock.
    InTime,
    /// It is done whenever it comes.
    Ever,
}

/// Counts what `shutdown` waits for: callers on their way to a lock, attempts, and all that is to be
/// given back. Who begins something on behalf of another counts it before the other is done.
#[derive(Clone)]
pub(crate) struct Backlog(Arc<watch::Sender<usize>>);

/// Something to be waited for; until it is dropped.
pub(crate) struct Pending(Backlog);

impl Backlog {
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }

    pub(crate) fn pending(&self) -> Pending {
        self.0.send_modify(|count| *count += 1);
        Pending(self.clone())
    }

    /// Waits until nothing is left, `patience` at most; gives how much was.
    pub(crate) async fn empty(&self, patience: Duration) -> usize {
        let mut counts = self.0.subscribe();
        // Cannot fail: `self` keeps the sender alive.
        let empty = counts.wait_for(|count| *count == 0);
        if timeout(patience, empty).await.is_ok() { 0 } else { *self.0.borrow() }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.0.send_modify(|count| *count = count.saturating_sub(1));
    }
}

/// What is to be given up: a lock, or a place in the queue.
struct Given {
    names: Arc<Names>,
    token: String,
    /// It is over then, unless that is ...
    until: Timestamp,
    /// ... not known.
    ever: bool,
    /// How often Redis was asked, and has not answered.
    unanswered: u32,
}

/// See the head of the file.
struct Releaser {
    redis: Redis,
    clock: Clock,
    counters: Arc<Counters>,
    /// Attempts whose outcome is not known.
    followed: AtomicUsize,
    /// What Redis is asked again about, or is to be.
    repeated: AtomicUsize,
    turns: Semaphore,
    /// There is no service any more, and no guard.
    alone: AtomicBool,
}

pub(crate) async fn run(
    redis: Redis,
    clock: Clock,
    counters: Arc<Counters>,
    mut jobs: UnboundedReceiver<Job>,
) {
    let releaser = Releaser {
        redis,
        clock,
        counters,
        followed: AtomicUsize::new(0),
        repeated: AtomicUsize::new(0),
        turns: Semaphore::new(AT_A_TIME),
        alone: AtomicBool::new(false),
    };
    let (mut running, mut open) = (FuturesUnordered::new(), true);
    loop {
        tokio::select! {
            job = jobs.recv(), if open => match job {
                Some(job) => running.push(releaser.work(job)),
                None => {
                    open = false;
                    releaser.alone.store(true, Relaxed);
                }
            },
            Some(()) = running.next() => {}
            else => return,
        }
    }
}

impl Releaser {
    async fn work(&self, job: Job) {
        match job {
            Job::Release { names, token, until, gate, turn, lost, late, told, pending } => {
                let first = first_answer(&self.redis, &names, &token).await;
                drop((gate, turn));
                let again = matches!(&first, Err((_, true)));
                if let Err((error, _)) = &first
                    && error.kind() == LockErrorKind::LeaseLost
                    && !lost
                {
                    bump(&self.counters.leases_lost);
                }
                // Whoever has dropped the guard is not there to know.
                if let Err(Err(error)) = told.send(first.map_err(|(error, _)| error)) {
                    let lock = &names.lock;
                    tracing::warn!(lock, %error, again, "a lock was not given back in order");
                }
                let unanswered = u32::from(again);
                let mut given = Given { names, token, until, ever: false, unanswered };
                if again {
                    self.give_up(&mut given).await;
                }
                if late != Late::Never {
                    given.ever = late == Late::Ever;
                    self.follow(given).await;
                }
                drop(pending);
            }
            Job::Leave { names, token, until, pending } => {
                let mut given = Given { names, token, until, ever: false, unanswered: 0 };
                self.give_up(&mut given).await;
                drop(pending);
            }
            Job::Abandon { names, token, until, late, pending } => {
                let ever = late == Late::Ever;
                // The attempt itself was the first.
                self.follow(Given { names, token, until, ever, unanswered: 1 }).await;
                drop(pending);
            }
        }
    }

    /// Takes an attempt back: see [`AGAIN`].
    async fn follow(&self, mut given: Given) {
        if self.followed.fetch_add(1, Relaxed) < FOLLOWED {
            for pause in AGAIN {
                if !self.matters(&given) {
                    break;
                }
                self.clock.sleep(pause).await;
                self.give_up(&mut given).await;
            }
        }
        self.followed.fetch_sub(1, Relaxed);
    }

    /// Asks until Redis does it, says that it never will, or it is over by itself.
    async fn give_up(&self, given: &mut Given) {
        if given.unanswered == 0 {
            // Waits for no turn.
            if !self.matters(given) || self.is_answered(given).await {
                return;
            }
            self.clock.sleep(PAUSE.0).await;
        }
        self.repeated.fetch_add(1, Relaxed);
        self.repeat(given).await;
        self.repeated.fetch_sub(1, Relaxed);
    }

    /// The same of what was asked before in vain: in its turn.
    async fn repeat(&self, given: &mut Given) {
        let mut pause = PAUSE.0;
        while self.matters(given) {
            // Never closed, so a turn comes.
            let turn = self.turns.acquire().await;
            if self.is_answered(given).await {
                return;
            }
            drop(turn);
            self.clock.sleep(pause).await;
            // All together ask no oftener than so many do.
            let crowd =
                self.repeated.load(Relaxed).div_ceil(AT_A_TIME).try_into().unwrap_or(u32::MAX);
            pause = (pause * 2).min(PAUSE.1.saturating_mul(crowd));
        }
    }

    /// Whether there may be anything left to be given up.
    fn matters(&self, given: &Given) -> bool {
        (given.ever && !self.alone.load(Relaxed)) || self.clock.is_before(given.until)
    }

    /// Whether Redis has given it up, or never will.
    async fn is_answered(&self, given: &mut Given) -> bool {
        let usual = self.redis.usual_budget();
        let grown = usual.saturating_mul(1 << given.unanswered.min(8)).min(LONGEST).max(usual);
        let left = self.clock.now().until(given.until);
        let budget = if given.ever { grown } else { grown.min(left.max(usual)) };
        let given_up = self.redis.give_up(&given.names, &given.token, budget).await;
        let answered = !given_up.is_err_and(|error| error.is_retryable());
        given.unanswered = given.unanswered.saturating_add(u32::from(!answered));
        answered
    }
}

/// What the caller is told, and for an error whether trying again makes sense.
async fn first_answer(redis: &Redis, names: &Names, token: &str) -> Result<(), (LockError, bool)> {
    let lost = || {
        let message = "the lock was not this holder's any more";
        Err((LockError::new(LockErrorKind::LeaseLost, message), false))
    };
    let failed = |error: CacheError| {
        let again = error.is_retryable();
        Err((unavailable(error), again))
    };
    let mut sent = Sent::default();
    let may_have_run = match redis.release(names, token, &mut sent).await {
        Ok(true) => return Ok(()),
        Ok(false) => return lost(),
        Err(error) if error.kind() == ErrorKind::Unavailable => may_run(&error, sent),
        Err(error) => return failed(error),
    };
    match redis.release(names, token, &mut sent).await {
        Ok(had) if had || may_have_run => Ok(()),
        Ok(_) => lost(),
        Err(error) => failed(error),
    }
}
