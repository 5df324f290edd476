//! The task that renews: one for a service, for all its locks.
//!
//! Rules:
//! 1. A renewal is timed from when it was sent, never from its answer.
//! 2. A lock that is gone is never taken again: its lease is lost, and another may have it.
//! 3. Those that are due about the same time go in one script, a hundred at most.
//! 4. What Redis does not answer is asked again while the lease lasts, with growing pauses, and with
//!    twice the time for an answer each time: that is the lease's to give, not an operation's.

use std::sync::Arc;
use std::time::Duration;

use cache_core::{Clock, Timestamp};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::holds::{Due, Holds, Renewed};
use super::script::{AT_ONCE, Redis};

/// The longest time for one question, unless the usual one is longer.
const LONGEST: Duration = Duration::from_secs(2);

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
async fn renew(redis: &Redis, batch: Vec<Due>, clock: &Clock) -> Vec<(u64, Renewed)> {
    let mut wanted = Vec::with_capacity(batch.len());
    let mut renewed = Vec::with_capacity(batch.len());
    for Due { id, hold, .. } in &batch {
        match hold.next_lease(clock) {
            Some((sent, lease)) => wanted.push((*id, hold, sent, lease)),
            None => renewed.push((*id, Renewed::Failed(clock.now()))),
        }
    }
    if wanted.is_empty() {
        return renewed;
    }
    let locks: Vec<_> =
        wanted.iter().map(|(_, hold, _, lease)| (&*hold.names, &*hold.token, *lease)).collect();
    let time = time(redis.usual_budget(), &batch, clock.now());
    let had = match redis.renew(&locks, time).await {
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
            None => Renewed::Failed(sent),
        };
        renewed.push((id, how));
    }
    renewed
}

/// How long an answer is waited for: rule 4. One after the last of the leases is over helps nobody.
fn time(usual: Duration, batch: &[Due], now: Timestamp) -> Duration {
    let failures = batch.iter().map(|due| due.failures).max().unwrap_or(0);
    let left = batch.iter().filter_map(|due| Some(now.until(due.hold.lease.deadline()?))).max();
    let grown = usual.saturating_mul(1 << failures.min(8)).min(LONGEST).max(usual);
    grown.min(left.unwrap_or(usual))
}
