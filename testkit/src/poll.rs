//! Polling by hand, and waiting for an effect without a pause.

use std::future::Future;
use std::panic::Location;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// How long [`eventually`] waits before it gives up: far longer than any effect needs, so that a
/// busy machine does not fail a test that would pass.
const DEADLINE: Duration = Duration::from_secs(10);

/// Polls `future` once, without anyone being woken.
///
/// ```
/// use cache_testkit::{Gate, poll_once};
///
/// let gate = Gate::new();
/// let mut pass = Box::pin(gate.pass());
/// assert!(poll_once(&mut pass).is_pending());
/// gate.open();
/// assert!(poll_once(&mut pass).is_ready());
/// ```
pub fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    // Unconstrained: tokio's budget would make a future look pending that is ready.
    let future = pin!(tokio::task::unconstrained(future));
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Polls `future` up to `polls` times, the runtime's other tasks having their turns in between,
/// and then drops it. Returns its output if it was ready before that.
pub async fn drop_after<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    let mut future = Box::pin(future);
    for _ in 0..polls {
        if let Poll::Ready(output) = poll_once(&mut future) {
            return Some(output);
        }
        tokio::task::yield_now().await;
    }
    None
}

/// Lets the runtime's other tasks run for a while. What must *not* happen can only be looked for
/// after a while; for what must happen use [`eventually`].
pub async fn let_others_run() {
    for _ in 0..64 {
        tokio::task::yield_now().await;
    }
}

/// Waits until `condition` holds, yielding to other tasks in between.
///
/// # Panics
///
/// If it does not hold within 10 s, naming the caller.
///
/// ```
/// # use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// static DONE: AtomicBool = AtomicBool::new(false);
/// tokio::spawn(async { DONE.store(true, SeqCst) });
/// cache_testkit::eventually(|| DONE.load(SeqCst)).await;
/// # }
/// ```
#[track_caller]
pub fn eventually<C: FnMut() -> bool>(mut condition: C) -> impl Future<Output = ()> + use<C> {
    let caller = Location::caller();
    async move {
        let start = Instant::now();
        while !condition() {
            assert!(start.elapsed() < DEADLINE, "did not come about within {DEADLINE:?}: {caller}");
            tokio::task::yield_now().await;
        }
    }
}

/// As [`eventually`], where asking is asynchronous.
///
/// # Panics
///
/// As [`eventually`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let gate = cache_testkit::Gate::new();
/// gate.open();
/// cache_testkit::eventually_async(async || { gate.pass().await; true }).await;
/// # }
/// ```
#[track_caller]
pub fn eventually_async<C: AsyncFnMut() -> bool>(
    mut condition: C,
) -> impl Future<Output = ()> + use<C> {
    let caller = Location::caller();
    async move {
        let start = Instant::now();
        while !condition().await {
            assert!(start.elapsed() < DEADLINE, "did not come about within {DEADLINE:?}: {caller}");
            tokio::task::yield_now().await;
        }
    }
}
