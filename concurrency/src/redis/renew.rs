//! The task that renews: one for a service, for all its locks.
//!
//! Rules:
//! 1. A renewal is timed from when it was sent, never from its answer.
//! 2. A lock that is gone is never taken again: its lease is lost, and another may have it.
//! 3. What Redis does not answer is asked again while the lease lasts, with growing pauses.

use std::sync::Arc;

use cache_core::Clock;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::hold::Hold;
use super::holds::{Holds, Renewed};
use super::script::Redis;

/// Runs until it is aborted.
pub(crate) async fn run(holds: Arc<Holds>, redis: Redis, clock: Clock) {
    let mut renewals = FuturesUnordered::new();
    loop {
        let (due, next) = holds.due(&clock);
        renewals.extend(due.into_iter().map(|(id, hold)| {
            let (redis, clock) = (&redis, &clock);
            async move { (id, renew(redis, &hold, clock).await) }
        }));
        tokio::select! {
            Some((id, renewed)) = renewals.next() => holds.renewed(id, &renewed, &clock),
            () = holds.earlier.notified() => {}
            () = clock.sleep_until(next) => {}
        }
    }
}

async fn renew(redis: &Redis, hold: &Hold, clock: &Clock) -> Renewed {
    let Some((sent, lease)) = hold.next_lease(clock) else {
        return Renewed::Failed;
    };
    match redis.renew(&hold.names, &hold.token, lease).await {
        Ok(true) => Renewed::Until(sent, lease),
        Ok(false) => {
            if hold.lease.check().is_ok() {
                let key = hold.lease.key();
                tracing::warn!(key, "a lock was lost: it expired, was removed or taken away");
            }
            Renewed::Lost
        }
        Err(error) => {
            tracing::debug!(key = hold.lease.key(), %error, "a lock was not renewed yet");
            Renewed::Failed
        }
    }
}
