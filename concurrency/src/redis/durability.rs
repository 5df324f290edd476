//! Waiting until replicas have a lock, too.
//!
//! Rules:
//! 1. WAIT holds up what comes behind it on its connection. So there is one question at a time, about all
//!    the locks that wait by then; those that come meanwhile share the next.
//! 2. It is asked by whoever of those who wait has the turn, for all of them.
//! 3. The time of a lock counts from the first question about it, and is one question long in any case.

use std::sync::Arc;
use std::time::Duration;

use cache_core::{Clock, LockError, LockErrorKind, Timestamp};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::error::{task_gone, unavailable};
use super::names::Names;
use super::script::Redis;

/// So long is waited at a time. Nothing else is answered on that connection meanwhile, heartbeats
/// neither: a server that waits for longer than their timeout, half a second unless set, would be
/// taken for one that hangs.
const AT_A_TIME: Duration = Duration::from_millis(200);
/// Locks that are asked about at once.
const TOGETHER: usize = 1_000;

/// How many replicas must have a grant before it counts, and how long that may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Durability {
    pub(crate) replicas: u32,
    pub(crate) within: Duration,
}

/// See the head of the file.
pub(crate) struct Replicas {
    wanted: Durability,
    pending: Mutex<Vec<Granted>>,
    turn: tokio::sync::Mutex<()>,
}

/// A lock that is granted and does not count yet.
struct Granted {
    names: Arc<Names>,
    token: String,
    lease: Duration,
    /// Its caller's.
    deadline: Timestamp,
    /// When it was first asked about.
    began: Option<Timestamp>,
    tell: oneshot::Sender<Result<(), LockError>>,
}

impl Granted {
    /// From when until when it is asked about, if that has begun by now.
    fn time(&mut self, now: Timestamp, within: Duration) -> (Timestamp, Timestamp) {
        let began = *self.began.get_or_insert(now);
        (began, (began + within).min(self.deadline.max(began + AT_A_TIME)))
    }
}

impl Replicas {
    pub(crate) fn new(wanted: Durability) -> Self {
        Self { wanted, pending: Mutex::default(), turn: tokio::sync::Mutex::default() }
    }

    /// How long a lock may take: a question about others first, and a last one on top of its time.
    pub(crate) fn longest(&self, budget: Duration) -> Duration {
        self.wanted.within + 2 * (AT_A_TIME + budget)
    }

    /// Waits for the replicas to have the lock of this token: not beyond the caller's deadline, but one
    /// question long in any case.
    pub(crate) async fn reached(
        &self,
        redis: &Redis,
        clock: &Clock,
        (names, token, lease): (&Arc<Names>, &str, Duration),
        deadline: Timestamp,
    ) -> Result<(), LockError> {
        let (tell, mut told) = oneshot::channel();
        let (names, token) = (Arc::clone(names), token.to_owned());
        self.pending.lock().push(Granted { names, token, lease, deadline, began: None, tell });
        loop {
            tokio::select! {
                biased;
                outcome = &mut told => return outcome.unwrap_or_else(|_| Err(task_gone())),
                _turn = self.turn.lock() => self.ask(redis, clock).await,
            }
        }
    }

    /// One question about those that wait. Who has to wait on is kept for the next.
    async fn ask(&self, redis: &Redis, clock: &Clock) {
        let Durability { replicas, within } = self.wanted;
        let mut batch: Vec<_> = {
            let mut pending = self.pending.lock();
            let count = pending.len().min(TOGETHER);
            pending.drain(..count).collect()
        };
        let now = clock.now();
        let left = batch.iter_mut().map(|granted| now.until(granted.time(now, within).1)).max();
        let Some(left) = left else { return };
        let left = left.clamp(Duration::from_millis(1), AT_A_TIME);
        let locks: Vec<_> = batch.iter().map(|of| (&*of.names, &*of.token, of.lease)).collect();
        let answer = redis.replicated(&locks, replicas, left).await;
        let now = clock.now();
        let mut kept = Vec::new();
        for (index, mut granted) in batch.into_iter().enumerate() {
            let (began, end) = granted.time(now, within);
            let failed = |message| Err(LockError::new(LockErrorKind::Unavailable, message));
            let outcome = match &answer {
                Err(error) => Err(unavailable(error.clone())),
                Ok((written, _)) if written.get(index) != Some(&true) => {
                    failed("the lock was gone before replicas had it".to_owned())
                }
                Ok((_, reached)) if *reached >= replicas => Ok(()),
                Ok(_) if now < end => {
                    kept.push(granted);
                    continue;
                }
                Ok((_, reached)) => {
                    let after = began.until(end);
                    failed(format!("{reached} of {replicas} replicas had the lock after {after:?}"))
                }
            };
            // It waits for this.
            let _ = granted.tell.send(outcome);
        }
        let mut pending = self.pending.lock();
        kept.append(&mut pending);
        *pending = kept;
    }
}
