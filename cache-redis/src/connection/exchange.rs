//! One request and its reply, within a budget.
//!
//! Rules:
//!
//! 1. One timer covers the wait for a connection, the queue, the reply and a retry.
//! 2. A call that [is waited for to the end](Call::to_the_end) and was sent ends with its reply or
//!    its budget, and not before.
//! 3. Where one connection finds that its server is a replica, all that lead there are replaced.
//! 4. A retry goes to what comes after the broken connection, never to its neighbour.

use std::sync::atomic::Ordering;
use std::time::Duration;

use cache_core::{CacheError, ErrorKind};
use redis::{ErrorKind as Redis, RedisError, Value};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::Connections;
use super::call::{Call, Generation, Request, Retry, Sent};
use super::link::{InFlight, SETTLED};
use crate::error::{Effect, classify, unavailable};

/// How far a call has got.
struct Trail<'a> {
    /// What it goes by, or went last.
    used: Option<InFlight<'a>>,
    sent: &'a mut Sent,
}

impl Connections {
    /// How long this call may take: its own budget, or the configured
    /// [`operation_timeout`](crate::RedisConfig::operation_timeout).
    #[must_use]
    pub fn budget(&self, call: Call) -> Duration {
        call.budget.unwrap_or(self.0.shared.config.operation_timeout)
    }

    /// An exchange whose error reply is the call's error.
    pub(super) async fn run(&self, call: Call, request: Request<'_>) -> Result<Value, CacheError> {
        let reply = self.exchange(call, self.budget(call), request).await?;
        self.checked(reply)
    }

    /// As [`run`](Self::run), and says which connection of its lane has answered.
    pub(super) async fn run_over(
        &self,
        call: Call,
        request: Request<'_>,
    ) -> Result<(Value, Generation), CacheError> {
        let mut sent = Sent::default();
        let (reply, by) = self.converse(call, self.budget(call), request, &mut sent).await?;
        Ok((self.checked(reply)?, by))
    }

    pub(super) fn checked(&self, reply: Value) -> Result<Value, CacheError> {
        match reply {
            Value::ServerError(error) => {
                self.0.shared.health.failures.fetch_add(1, Ordering::Relaxed);
                Err(classify(&RedisError::from(error), self.address()).0)
            }
            reply => Ok(reply),
        }
    }

    /// Sends `request` and waits for its reply, an error reply included, for `budget` in all.
    pub(super) async fn exchange(
        &self,
        call: Call,
        budget: Duration,
        request: Request<'_>,
    ) -> Result<Value, CacheError> {
        self.exchange_counted(call, budget, request, &mut Sent::default()).await
    }

    /// As [`exchange`](Self::exchange), and counts how often the request is sent.
    pub(super) async fn exchange_counted(
        &self,
        call: Call,
        budget: Duration,
        request: Request<'_>,
        sent: &mut Sent,
    ) -> Result<Value, CacheError> {
        self.converse(call, budget, request, sent).await.map(|(reply, _)| reply)
    }

    async fn converse(
        &self,
        call: Call,
        budget: Duration,
        request: Request<'_>,
        sent: &mut Sent,
    ) -> Result<(Value, Generation), CacheError> {
        let health = &self.0.shared.health;
        let until = Instant::now() + budget;
        let mut trail = Trail { used: None, sent };
        let reply = match timeout_at(until, self.attempts(call, request, &mut trail)).await {
            Ok(reply) => reply,
            Err(_) => {
                if let Some(guard) = trail.used {
                    guard.give_up();
                }
                return Err(self.timed_out(budget));
            }
        };
        if reply.is_err() {
            health.failures.fetch_add(1, Ordering::Relaxed);
            if call.to_the_end && trail.sent.0 > 0 {
                drop(trail);
                // Apart, as it is rare and large.
                Box::pin(sleep_until(until)).await;
            }
        }
        reply
    }

    /// A write that the server got too late: as one that had no answer in time. That it did may be
    /// due to what is known of its clock, so it is asked.
    pub(crate) fn came_late(&self) -> CacheError {
        if let Some(link) = self.0.pool.links().first() {
            link.suspect();
        }
        self.0.shared.health.timeouts.fetch_add(1, Ordering::Relaxed);
        let message = format!("{}: the write came too late and was not done", self.address());
        CacheError::new(ErrorKind::Timeout, message)
    }

    /// Counts a call that had no answer in time.
    pub(crate) fn timed_out(&self, budget: Duration) -> CacheError {
        self.0.shared.health.timeouts.fetch_add(1, Ordering::Relaxed);
        let message = format!("{}: no answer within {budget:?}", self.address());
        CacheError::new(ErrorKind::Timeout, message)
    }

    async fn attempts<'a>(
        &'a self,
        call: Call,
        request: Request<'_>,
        Trail { used, sent }: &mut Trail<'a>,
    ) -> Result<(Value, Generation), CacheError> {
        let mut retries = match call.retry {
            Retry::Never => 0,
            Retry::Once => 1,
        };
        let patience = self.0.shared.config.operation_timeout;
        let mut lease = self.0.pool.lease(call.lane, patience).await?;
        loop {
            let guard = used.insert(lease.guard);
            let by = Generation(guard.generation);
            if call.over.is_some_and(|over| over != by) {
                return Err(unavailable(self.address(), "its connection was replaced"));
            }
            let cluster = lease.handle.is_cluster();
            sent.0 += 1;
            let (reply, trouble) = match lease.handle.send(request, call.retry == Retry::Once).await
            {
                Ok(reply) => {
                    let trouble = request.refusal(&reply);
                    (Some(reply), trouble)
                }
                Err(error) => (None, Some(error)),
            };
            let Some(trouble) = trouble else {
                let reply = reply.ok_or_else(|| unavailable(self.address(), "no reply"))?;
                return Ok((reply, by));
            };
            let (error, effect) = classify(&trouble, self.address());
            match effect {
                Effect::Keep | Effect::Redirect => {}
                // The cluster's client mends its own.
                Effect::Dropped | Effect::Replace | Effect::Demoted if cluster => guard.suspect(),
                Effect::Dropped => guard.condemn(),
                Effect::Replace => guard.replace(),
                Effect::Demoted => {
                    if let Some(address) = guard.link.address(guard.generation) {
                        // The others lead there, too.
                        self.0.shared.demoted(&address, SETTLED);
                    }
                    guard.replace();
                }
            }
            if let Some(reply) = reply {
                return Ok((reply, by));
            }
            if effect != Effect::Dropped || retries == 0 || trouble.kind() == Redis::Parse {
                return Err(error);
            }
            retries -= 1;
            // On what comes after this connection: others may be as dead, and not know it yet.
            let (link, generation) = (guard.link, guard.generation);
            *used = None;
            lease = match cluster {
                true => link.lease(),
                false if link.successor(generation).await => link.lease(),
                false => None,
            }
            .ok_or(error)?;
        }
    }
}
