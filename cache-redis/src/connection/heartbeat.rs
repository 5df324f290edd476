//! Asking a server whether it is alive, what time it is and, where it matters, what it is.

use std::time::Duration;

use cache_core::CacheError;
use redis::aio::MultiplexedConnection;
use redis::{Pipeline, Value};
use tokio::time::{Instant, sleep_until};

use super::server_clock::ServerClock;
use super::stream::Progress;
use crate::error::{classify, unavailable};

/// What the server must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Whatever it is: the user may not ask, and learns it from READONLY replies.
    Any,
    /// What it was: whatever it is at first, and a primary from when it is one.
    Same,
    Primary,
}

impl Role {
    /// What it must be from now on, after this answer to `ROLE`; `None` if it is not what it must
    /// be.
    pub(crate) fn after(self, answer: &Value) -> Option<Self> {
        match (self, is_primary(answer)) {
            (_, Some(true)) => Some(Self::Primary),
            (Self::Primary, Some(false)) => None,
            (Self::Same, None) if is_unanswerable(answer) => Some(Self::Any),
            (role, _) => Some(role),
        }
    }
}

/// Why a connection has to be replaced.
#[derive(Debug)]
pub(crate) enum Lost {
    Silent(CacheError),
    Broken(CacheError),
    /// It is a replica now.
    Demoted(CacheError),
}

impl Lost {
    pub(crate) fn into_error(self) -> CacheError {
        match self {
            Self::Silent(error) | Self::Broken(error) | Self::Demoted(error) => error,
        }
    }
}

/// One heartbeat: what the server must be from now on. Patience runs from the last sign of life: an answer that waits behind a large
/// one that is still coming in is not late.
pub(crate) async fn beat(
    connection: &mut MultiplexedConnection,
    progress: &Progress,
    role: Role,
    clock: &ServerClock,
    patience: Duration,
    address: &str,
) -> Result<Role, Lost> {
    let mut pipeline = Pipeline::new();
    pipeline.cmd("TIME");
    if role != Role::Any {
        pipeline.cmd("ROLE");
    }
    let began = Instant::now();
    let asked = clock.ask();
    let mut answer = std::pin::pin!(connection.send_packed_commands(&pipeline, 0, pipeline.len()));
    let replies = loop {
        let limit = began.max(progress.last()) + patience;
        tokio::select! {
            biased;
            replies = &mut answer => break replies,
            () = sleep_until(limit) => {
                if progress.last() + patience <= Instant::now() {
                    return Err(Lost::Silent(unavailable(address, "it does not answer")));
                }
            }
        }
    };
    let replies = replies.map_err(|error| Lost::Broken(classify(&error, address).0))?;
    if let Some(time) = replies.first() {
        clock.answered(asked, time);
    }
    let next = replies.get(1).map_or(Some(role), |answer| role.after(answer));
    next.ok_or_else(|| Lost::Demoted(unavailable(address, "it is not the primary")))
}

/// The user may not ask, or the server does not know the question.
fn is_unanswerable(reply: &Value) -> bool {
    matches!(reply, Value::ServerError(error) if matches!(error.code(), "NOPERM" | "ERR"))
}

/// What `ROLE` says, if it says anything.
fn is_primary(reply: &Value) -> Option<bool> {
    let Value::Array(items) = reply else { return None };
    match items.first()? {
        Value::BulkString(role) => Some(role == b"master"),
        Value::SimpleString(role) => Some(role == "master"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_a_primary_must_stay_one_and_what_never_was_need_not_be() {
        let role = |name: &str| Value::Array(vec![Value::BulkString(name.into()), Value::Int(0)]);
        let refused = redis::parse_redis_value(b"-NOPERM no\r\n").unwrap();
        let busy = redis::parse_redis_value(b"-BUSY with a script\r\n").unwrap();
        for (must_be, answer, then) in [
            (Role::Same, role("slave"), Some(Role::Same)),
            (Role::Same, role("master"), Some(Role::Primary)),
            (Role::Same, refused.clone(), Some(Role::Any)),
            (Role::Same, busy, Some(Role::Same)),
            (Role::Primary, role("master"), Some(Role::Primary)),
            (Role::Primary, role("slave"), None),
            (Role::Primary, refused, Some(Role::Primary)),
        ] {
            assert_eq!(must_be.after(&answer), then, "{must_be:?} {answer:?}");
        }
    }
}
