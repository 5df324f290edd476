//! Waiting until replicas have a lock, too.

use std::time::Duration;

use cache_core::{LockError, LockErrorKind, Timestamp};

use super::error::unavailable;
use super::inner::Inner;
use super::names::Names;

/// So long is waited at a time. Nothing else is answered on that connection meanwhile, heartbeats
/// neither: a server that waits for longer than their timeout, half a second unless set, would be
/// taken for one that hangs.
const AT_A_TIME: Duration = Duration::from_millis(200);

/// What a question may take on top of what it waits for.
pub(super) const SLACK: Duration = Duration::from_secs(1);

/// How many replicas must have a grant before it counts, and how long that may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Durability {
    pub(crate) replicas: u32,
    pub(crate) within: Duration,
}

impl Durability {
    /// For how long replicas may be waited for, the last question included.
    pub(crate) fn longest(self) -> Duration {
        self.within + AT_A_TIME + SLACK
    }

    /// Waits for the replicas to have the lock of this token: not beyond the caller's deadline, but one
    /// question long in any case.
    pub(crate) async fn reached(
        self,
        inner: &Inner,
        names: &Names,
        token: &str,
        lease: Duration,
        deadline: Timestamp,
    ) -> Result<(), LockError> {
        let Self { replicas, within } = self;
        let (redis, clock) = (&inner.redis, &inner.clock);
        let began = clock.now();
        let end = (began + within).min(deadline.max(began + AT_A_TIME));
        let message = loop {
            let left = clock.now().until(end).max(Duration::from_millis(1));
            let waited = redis.replicated(names, token, lease, replicas, left.min(AT_A_TIME));
            match waited.await.map_err(unavailable)? {
                None => break "the lock was gone before replicas had it".to_owned(),
                Some(reached) if reached >= replicas => return Ok(()),
                Some(reached) if !clock.is_before(end) => {
                    let after = began.until(end);
                    break format!("{reached} of {replicas} replicas had the lock after {after:?}");
                }
                Some(_) => {}
            }
        };
        Err(LockError::new(LockErrorKind::Unavailable, message))
    }
}
