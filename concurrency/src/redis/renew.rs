//! The task that renews: one for a service, for all its locks.
//!
//! Rules:
//! 1. A renewal is timed from when it was sent, never from its answer.
//! 2. A lock that is gone is never taken again: its lease is lost, and another may have it.
//! 3. Those that are due about the same time go in one script, a hundred at most.
//! 4. What Redis does not answer is asked again while the lease lasts, with growing pauses.

use std::sync::Arc;

use cache_core::Clock;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::hold::Hold;
use super::holds::{Holds, Renewed};
use super::script::{AT_ONCE, Redis};

/// Runs until it is aborted.
pub(crate) async fn run(holds: Arc<Holds>, redis: Redis, clock: Clock) {
    let mut renewals = FuturesUnordered::new();
    // In a cluster each lock has a slot of its own.
    let at_once = if redis.connections.is_cluster() { 1 } else { AT_ONCE };
    loop {
        let (due, next) = holds.due(&clock);
        for batch in due.chunks(at_once) {
            renewals.push(renew(&redis, batch.to_vec(), &clock));
        }
        tokio::select! {
            Some(renewed) = renewals.next() => {
                for (id, renewed) in renewed {
                    holds.renewed(id, &renewed, &clock);
                }
            }
            () = holds.earlier.notified() => {}
            () = clock.sleep_until(next) => {}
        }
    }
}

/// How the renewal of each went.
async fn renew(redis: &Redis, batch: Vec<(u64, Arc<Hold>)>, clock: &Clock) -> Vec<(u64, Renewed)> {
    let mut wanted = Vec::with_capacity(batch.len());
    let mut renewed = Vec::with_capacity(batch.len());
    for (id, hold) in &batch {
        match hold.next_lease(clock) {
            Some((sent, lease)) => wanted.push((*id, hold, sent, lease)),
            None => renewed.push((*id, Renewed::Failed)),
        }
    }
    if wanted.is_empty() {
        return renewed;
    }
    let locks: Vec<_> =
        wanted.iter().map(|(_, hold, _, lease)| (&*hold.names, &*hold.token, *lease)).collect();
    let had = match redis.renew(&locks).await {
        Ok(had) => had.into_iter().map(Some).collect(),
        Err(error) => {
            tracing::debug!(locks = locks.len(), %error, "locks were not renewed yet");
            vec![None; locks.len()]
        }
    };
    for ((id, hold, sent, lease), had) in wanted.into_iter().zip(had) {
        let how = match had {
            Some(true) => Renewed::Until(sent, lease),
            Some(false) => {
                if hold.lease.check().is_ok() {
                    let key = hold.lease.key();
                    tracing::warn!(key, "a lock was lost: it expired, was removed or taken away");
                }
                Renewed::Lost
            }
            None => Renewed::Failed,
        };
        renewed.push((id, how));
    }
    renewed
}
