//! From a caller to a guard.
//!
//! Rules:
//! 1. The tasks of this process queue at the gate; who has passed it alone asks Redis.
//! 2. Each attempt is a task of its own. If its caller is gone when it succeeds, the guard is
//!    dropped there, which gives the lock back.
//! 3. The lease counts from before the attempt was sent. An answer after its end is no lock.
//! 4. Whatever may have been granted without our knowing is taken back, and its token is not used
//!    again.

use std::sync::Arc;
use std::time::Duration;

use cache_core::{
    FencingToken, LockError, LockErrorKind, LockGuard, LockLease, LockRelease, LockReleasing,
};
use cache_redis::ConnectionState;
use tokio::sync::oneshot;

use super::error::{may_heal, task_gone, unavailable};
use super::hold::{Hold, Terms, valid_until};
use super::inner::Inner;
use super::names::{Names, label};
use super::release::Job;
use super::script::Acquired;

/// One caller's request.
#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) key: Arc<str>,
    pub(crate) names: Names,
    pub(crate) token: String,
    pub(crate) terms: Terms,
}

/// How an attempt ended.
pub(crate) enum Tried {
    Granted(LockGuard),
    /// By whom, and for how long at most, where that is known. The gate comes back.
    Held {
        gate: LockGuard,
        holder: String,
        remaining: Option<Duration>,
    },
}

/// Asks Redis once, in a task that goes on if the caller does not.
pub(crate) async fn attempt(
    inner: &Arc<Inner>,
    request: &Request,
    gate: LockGuard,
) -> Result<Tried, LockError> {
    let (tell, told) = oneshot::channel();
    let (task_inner, request) = (Arc::clone(inner), request.clone());
    let pending = inner.backlog.pending();
    inner.spawn(async move {
        let tried = ask(&task_inner, request, gate).await;
        // To a caller that is gone: what comes back is dropped (rule 2).
        drop(tell.send(tried));
        drop(pending);
    });
    told.await.map_err(|_| task_gone())?
}

async fn ask(inner: &Arc<Inner>, request: Request, gate: LockGuard) -> Result<Tried, LockError> {
    let Request { key, names, token, terms } = request;
    // While down, calls fail before anything is sent, except for a probe that times out.
    let down = inner.redis.0.stats().state == ConnectionState::Down;
    let sent = inner.clock.now();
    let fence = match inner.redis.acquire(&names, &token, terms.lease).await {
        Ok(Acquired::Fence(fence)) => fence,
        Ok(Acquired::Held(remaining, holder)) => {
            return Ok(Tried::Held { gate, holder: label(&holder), remaining });
        }
        Err(error) => {
            let sent_perhaps = !down || error.kind() == cache_core::ErrorKind::Timeout;
            if may_heal(&error) && sent_perhaps {
                abandon(inner, names, token, terms.lease);
            }
            return Err(unavailable(error));
        }
    };
    let (valid, hold_until) = (valid_until(sent, terms.lease), sent + terms.max_hold);
    if !inner.clock.is_before(valid) {
        abandon(inner, names, token, terms.lease);
        let message = format!("Redis took longer to answer than the lease of {:?}", terms.lease);
        return Err(LockError::new(LockErrorKind::Unavailable, message));
    }
    let lease = LockLease::new(key, FencingToken(fence), &inner.clock, valid, hold_until);
    let hold = Arc::new(Hold::new(names, token, lease.clone(), terms, sent, gate));
    let id = inner.holds.add(Arc::clone(&hold));
    Ok(Tried::Granted(LockGuard::new(
        lease,
        Arc::new(GivingBack { inner: Arc::clone(inner), hold, id }),
    )))
}

fn abandon(inner: &Inner, names: Names, token: String, lease: Duration) {
    // It may be executed late: twice the lease from now it is over in any case that matters.
    let until = inner.clock.now() + lease.saturating_mul(2);
    // The releaser ends with its runtime; then the lease runs out by itself.
    let _ = inner.jobs.send(Job::Abandon { names, token, until });
}

/// How a guard gives its lock back.
struct GivingBack {
    inner: Arc<Inner>,
    hold: Arc<Hold>,
    id: u64,
}

impl LockRelease for GivingBack {
    fn release(&self, lease: &LockLease) -> LockReleasing {
        // First: no renewal is begun for a lock that is being given back.
        self.inner.holds.remove(self.id);
        let (told, outcome) = oneshot::channel();
        let job = Job::Release {
            names: self.hold.names.clone(),
            token: self.hold.token.clone(),
            until: self.inner.clock.now() + self.hold.terms.lease,
            gate: self.hold.take_gate(),
            told,
            pending: self.inner.backlog.pending(),
        };
        let key = lease.key().to_owned();
        if self.inner.jobs.send(job).is_err() {
            return LockReleasing::Done(Err(task_gone().with_key(&key)));
        }
        LockReleasing::Pending(Box::pin(async move {
            let outcome = outcome.await.unwrap_or_else(|_| Err(task_gone()));
            outcome.map_err(|error| error.with_key(&key))
        }))
    }
}
