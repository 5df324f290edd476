//! Runs a section under its lease.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;

use super::chain;
use super::error::LockError;
use super::guard::{HeldLock, LockGuard};

/// Runs what `start` makes, then releases `guard`.
pub(super) async fn run<C, F>(mut guard: LockGuard, start: C) -> Result<F::Output, LockError>
where
    C: FnOnce(&HeldLock) -> F,
    F: Future,
{
    let held = guard.view();
    let value = {
        // Pinned here and handed on by reference: a section may be large, and what waits for the
        // end of its lease is.
        let section = start(held);
        #[cfg(feature = "tracing")]
        let section = tracing::Instrument::instrument(section, guard.span().clone());
        let section = pin!(section);
        let section = pin!(under_lease(held, section));
        chain::enter(held, section).await?
    };
    let (in_time, releasing) = guard.begin_release();
    // The section is done: whatever happens now must not hide its value.
    if let Err(error) = in_time.and(releasing.outcome().await) {
        tracing::warn!(%error, "the section has ended, but its lock was not released in order");
    }
    Ok(value)
}

/// Polls `section` while the lease runs: never begins a poll after its end, and ends a section
/// that is pending then. A poll that began in time is let through.
async fn under_lease<F: Future>(
    held: &HeldLock,
    mut section: Pin<&mut F>,
) -> Result<F::Output, LockError> {
    // Costs nothing until it is first polled, which is when the section has to wait.
    let mut lost = pin!(held.lost());
    poll_fn(|cx| {
        if let Err(error) = held.check() {
            return Poll::Ready(Err(error));
        }
        match section.as_mut().poll(cx) {
            Poll::Ready(value) => Poll::Ready(Ok(value)),
            Poll::Pending => lost.as_mut().poll(cx).map(Err),
        }
    })
    .await
}
