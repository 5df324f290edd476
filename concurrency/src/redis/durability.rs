//! Waiting until replicas have a lock, too.

use std::time::Duration;

use cache_core::{LockError, LockErrorKind};

use super::error::unavailable;
use super::names::Names;
use super::script::Redis;

/// How many replicas must have a grant before it counts, and how long that may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Durability {
    pub(crate) replicas: u32,
    pub(crate) within: Duration,
}

impl Durability {
    /// Waits for the replicas.
    pub(crate) async fn reached(self, redis: &Redis, names: &Names) -> Result<(), LockError> {
        let Self { replicas, within } = self;
        let reached = redis.replicated(names, replicas, within).await.map_err(unavailable)?;
        if reached >= replicas {
            return Ok(());
        }
        let message = format!("{reached} of {replicas} replicas had the lock after {within:?}");
        Err(LockError::new(LockErrorKind::Unavailable, message))
    }
}
