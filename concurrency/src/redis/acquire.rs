//! From a caller to a guard.
//!
//! Rules:
//! 1. The tasks of this process queue at the gate; who has passed it alone asks Redis.
//! 2. Each attempt is a task of its own. If its caller is gone when it succeeds, the guard is
//!    dropped there, which gives the lock back.
//! 3. The lease counts from before the attempt was sent. An answer after its end is no lock.
//! 4. A hand-over that is known to be young is a grant, valid from the latest moment that is known
//!    to be before it. It is made for a claim's time only, and so renewed at once, while its
//!    section begins.
//! 5. Whatever may have been granted without our knowing is taken back, and its token is not used
//!    again. So is what a copy of a question may do that comes after its token was given up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use cache_core::{
    FencingToken, LockError, LockErrorKind, LockGuard, LockLease, LockRelease, LockReleasing,
    Timestamp,
};
use tokio::sync::oneshot;

use super::error::{is_moving, may_heal, may_run, task_gone, unavailable};
use super::hand_over::HandOver;
use super::hold::{Hold, Terms, valid_until};
use super::holds::Renewal;
use super::inner::{Inner, hear};
use super::names::{Names, label};
use super::release::{Job, Late};
use super::script::{Acquired, Asked, CLAIM, Place};
use crate::stats::bump;

/// For how long it is tried to take back what the server has refused to do.
const REFUSED: Duration = Duration::from_secs(1);
/// What a hand-over made for a claim's time must have left. With heartbeats once a second, which is
/// usual, it has.
const LEAST: Duration = Duration::from_millis(800);

/// One caller's request.
#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) key: Arc<str>,
    pub(crate) names: Arc<Names>,
    pub(crate) token: String,
    pub(crate) terms: Terms,
    asked: Arc<SoFar>,
}

/// What has been asked under a token so far.
#[derive(Default)]
struct SoFar {
    /// A copy of a question may come when its answer is known already.
    late: AtomicBool,
    /// One has been asked that is done whenever it comes.
    ever: AtomicBool,
}

impl Request {
    pub(crate) fn new(key: &str, names: Names, token: String, terms: Terms) -> Self {
        Self { key: Arc::from(key), names: Arc::new(names), token, terms, asked: Arc::default() }
    }

    /// The same under another token.
    pub(crate) fn anew(&mut self, token: String) {
        (self.token, self.asked) = (token, Arc::default());
    }

    pub(crate) fn may_come_late(&self) -> bool {
        self.asked.late.load(Relaxed)
    }

    /// What a copy may do yet, if there is one.
    fn late(&self) -> Late {
        if self.asked.ever.load(Relaxed) { Late::Ever } else { Late::InTime }
    }
}

/// How an attempt ended.
pub(crate) enum Tried {
    /// And from when it is to be renewed, which begins when its caller has it.
    Granted(LockGuard, Renewal),
    /// By whom, and for how long at most, where that is known. The gate comes back.
    Held { gate: LockGuard, holder: String, remaining: Option<Duration> },
    /// Nobody knows. Whatever it was, it is being taken back.
    Failed {
        gate: LockGuard,
        error: LockError,
        /// Whether there is anything to be taken back, a place in the queue included.
        abandoned: bool,
        /// The lock's slot moves from one node of a cluster to another, and nothing has been done.
        moving: bool,
    },
}

/// Asks Redis once, in a task that goes on if the caller does not. If the lock is held, the caller is
/// in the queue as `place` says. Replicas are waited for until `deadline`.
pub(crate) async fn attempt(
    inner: &Arc<Inner>,
    request: &Request,
    place: Place,
    deadline: Timestamp,
    gate: LockGuard,
) -> Result<Tried, LockError> {
    let (tell, told) = oneshot::channel();
    let (task_inner, request) = (Arc::clone(inner), request.clone());
    let pending = inner.backlog.pending();
    inner.spawn(async move {
        let tried = send(&task_inner, &request, place, deadline, gate).await;
        // To a caller that is gone: what comes back is dropped (rule 2). It may have left the queue
        // before this attempt came there.
        if let Err(Ok(Tried::Held { .. })) = tell.send(tried)
            && (!place.patience.is_zero() || request.may_come_late())
        {
            task_inner.leave(&request, place.patience);
        }
        drop(pending);
    });
    let budget = inner.redis.usual_budget();
    let replicas = inner.replicas.as_ref().map_or(Duration::ZERO, |some| some.longest(budget));
    let until = deadline.max(inner.clock.now()) + budget + replicas;
    let tried = hear(&inner.clock, told, until).await??;
    if let Tried::Granted(_, renewal) = &tried {
        inner.holds.begin(*renewal);
    }
    Ok(tried)
}

async fn send(
    inner: &Arc<Inner>,
    request: &Request,
    place: Place,
    deadline: Timestamp,
    gate: LockGuard,
) -> Result<Tried, LockError> {
    let Request { names, token, terms, .. } = request;
    let (since, mut asked) = (inner.clock.now(), Asked::default());
    let answer = inner.redis.acquire(names, token, terms.lease, place, &mut asked).await;
    let sent = asked.sent;
    request.asked.late.fetch_or(sent.0 > 1, Relaxed);
    request.asked.ever.fetch_or(asked.ever, Relaxed);
    let fence = match answer {
        Ok(Acquired::Fence(fence)) => fence,
        Ok(Acquired::Held(remaining, holder)) => {
            return Ok(Tried::Held { gate, holder: label(&holder), remaining });
        }
        Err(error) => {
            let (unknown, heals) = (may_run(&error, sent), may_heal(&error));
            // One server by itself that sends elsewhere does so for good.
            let moving = inner.redis.connections.is_cluster() && is_moving(&error) && !unknown;
            if unknown {
                abandon(inner, request, place.patience);
            } else if heals && !moving && sent.0 > 0 {
                // What was refused has not been done; a place in the queue may be there from before.
                inner.leave(request, REFUSED);
            }
            let error = unavailable(error);
            if !heals {
                return Err(error);
            }
            let abandoned = sent.0 > 0 && !moving;
            return Ok(Tried::Failed { gate, error, abandoned, moving });
        }
    };
    let (redis, clock, of) = (&inner.redis, &inner.clock, (names, &**token, terms.lease));
    if let Some(replicas) = &inner.replicas {
        // Who waits behind this is not to think that nobody answers.
        let mut known = inner.known.of(&request.key);
        known.set(true);
        if let Err(error) = replicas.reached(redis, clock, of, deadline).await {
            abandon(inner, request, Duration::ZERO);
            return Err(error);
        }
    }
    let valid = valid_until(since, terms.lease);
    if !inner.clock.is_before(valid) {
        abandon(inner, request, Duration::ZERO);
        let message = format!("Redis took longer to answer than the lease of {:?}", terms.lease);
        return Err(LockError::new(LockErrorKind::Unavailable, message));
    }
    let (guard, renewal) = hold(inner, request, FencingToken(fence), since, terms.lease, gate);
    Ok(Tried::Granted(guard, renewal))
}

/// What a hand-over is worth: the lock, or, if that has to be asked for, the gate back.
pub(crate) fn claim(
    inner: &Arc<Inner>,
    request: &Request,
    hand_over: HandOver,
    gate: LockGuard,
) -> Result<LockGuard, LockGuard> {
    let Some(after) = hand_over.after else { return Err(gate) };
    let span = request.terms.lease.min(CLAIM);
    // A renewal needs time to be made, and to be made again: a Redis that hangs for so long takes
    // a lease that was to last.
    let least = if span < request.terms.lease { LEAST } else { span / 4 };
    let soon = inner.clock.now() + least;
    if !request.terms.renew || inner.confirm || valid_until(after, span) < soon {
        return Err(gate);
    }
    let (guard, renewal) = hold(inner, request, FencingToken(hand_over.fence), after, span, gate);
    inner.holds.begin(renewal);
    Ok(guard)
}

/// The guard of a lock that was granted after `since`, for so long.
fn hold(
    inner: &Arc<Inner>,
    request: &Request,
    fence: FencingToken,
    since: Timestamp,
    span: Duration,
    gate: LockGuard,
) -> (LockGuard, Renewal) {
    let Request { key, names, token, terms, .. } = request;
    let granted = inner.clock.now();
    let valid = valid_until(since, span);
    // One lease that is as long as the longest hold ends as that.
    let single = !terms.renew && terms.lease >= terms.max_hold;
    let hold_until = if single { valid } else { granted + terms.max_hold };
    let lease = LockLease::new(Arc::clone(key), fence, &inner.clock, valid, hold_until);
    let at = match (terms.renew, span == terms.lease) {
        (false, _) => Timestamp::MAX,
        (true, true) => since + span / 3,
        // Until it is renewed a halt of that time lets others in, however long the lease is to be.
        (true, false) => granted,
    };
    let (names, token) = (Arc::clone(names), token.clone());
    let hold = Arc::new(Hold::new(names, token, lease.clone(), *terms, hold_until, gate));
    let id = inner.holds.add(Arc::clone(&hold));
    if inner.hand_overs.is_lost(&request.token, fence.into()) {
        inner.holds.take_away(id, &hold);
    }
    let giving_back = GivingBack {
        inner: Arc::clone(inner),
        hold,
        id,
        late: if request.may_come_late() { request.late() } else { Late::Never },
        #[cfg(feature = "metrics")]
        granted,
    };
    (LockGuard::new(lease, Arc::new(giving_back)), Renewal { id, at })
}

/// Takes back what may have been granted, or may be granted yet, a place that is kept for so long
/// included.
pub(crate) fn abandon(inner: &Inner, request: &Request, patience: Duration) {
    let (names, token) = (Arc::clone(&request.names), request.token.clone());
    let until = inner.clock.now() + request.terms.lease.saturating_mul(2).max(patience);
    let late = request.late();
    // The releaser ends with its runtime; then the lease runs out by itself.
    let pending = inner.backlog.pending();
    let _ = inner.jobs.send(Job::Abandon { names, token, until, late, pending });
}

/// How a guard gives its lock back.
struct GivingBack {
    inner: Arc<Inner>,
    hold: Arc<Hold>,
    id: u64,
    late: Late,
    #[cfg(feature = "metrics")]
    granted: Timestamp,
}

impl LockRelease for GivingBack {
    fn release(&self, lease: &LockLease) -> LockReleasing {
        // First: no renewal is begun for a lock that is being given back.
        self.inner.holds.remove(self.id);
        let (now, lost) = (self.inner.clock.now(), lease.ended_early());
        if lost {
            bump(&self.inner.counters.leases_lost);
        }
        #[cfg(feature = "metrics")]
        self.inner.counters.holds.record(self.granted.until(now));
        let (told, outcome) = oneshot::channel();
        let job = Job::Release {
            names: Arc::clone(&self.hold.names),
            token: self.hold.token.clone(),
            until: now + self.hold.terms.lease,
            gate: self.hold.take_gate(),
            turn: self.hold.take_turn(),
            lost,
            late: self.late,
            told,
            pending: self.inner.backlog.pending(),
        };
        let key = lease.key().to_owned();
        if self.inner.jobs.send(job).is_err() {
            return LockReleasing::Done(Err(task_gone().with_key(&key)));
        }
        let clock = self.inner.clock.clone();
        // It asks twice at most.
        let until = now + self.inner.redis.usual_budget() * 2;
        LockReleasing::Pending(Box::pin(async move {
            let outcome = hear(&clock, outcome, until).await.flatten();
            outcome.map_err(|error| error.with_key(&key))
        }))
    }
}
