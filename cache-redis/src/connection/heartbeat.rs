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
    Any,
    Primary,
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

/// One heartbeat. Patience runs from the last sign of life: an answer that waits behind a large
/// one that is still coming in is not late.
pub(crate) async fn beat(
    connection: &mut MultiplexedConnection,
    progress: &Progress,
    role: Role,
    clock: &ServerClock,
    patience: Duration,
    address: &str,
) -> Result<(), Lost> {
    let mut pipeline = Pipeline::new();
    pipeline.cmd("TIME");
    if role == Role::Primary {
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
    match replies.get(1).map(is_primary) {
        Some(Some(false)) => Err(Lost::Demoted(unavailable(address, "it is not the primary"))),
        // A user who may not ask gets what READONLY replies tell.
        _ => Ok(()),
    }
}

/// What `ROLE` says, if it says anything.
pub(super) fn is_primary(reply: &Value) -> Option<bool> {
    let Value::Array(items) = reply else { return None };
    match items.first()? {
        Value::BulkString(role) => Some(role == b"master"),
        Value::SimpleString(role) => Some(role == "master"),
        _ => None,
    }
}
