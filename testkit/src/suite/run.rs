//! Running a behaviour: a runtime, a fresh harness, a deadline.

use std::future::IntoFuture;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use super::list::{BEHAVIOURS, Behaviour};
use crate::{CacheHarness, Capability, watchdog};

/// No behaviour takes this long: one that does hangs.
const DEADLINE: Duration = Duration::from_secs(60);

/// Runs a behaviour on a cache that `factory` makes: once on a single thread, where tasks take
/// turns in the same order each time, and, where the harness has a manual clock, once more with
/// two worker threads.
///
/// # Panics
///
/// If the cache misbehaves, or the behaviour has not ended after 60 s. Where the cache has blocked the
/// thread, as one does that takes a lock twice, nothing can panic: some seconds later the process ends,
/// with the behaviour's name on standard error. And if it is called in a runtime: it makes its own, so
/// it is for a `#[test]` and not for a `#[tokio::test]`.
pub fn run<F, I>(factory: F, behaviour: &Behaviour)
where
    F: Fn() -> I,
    I: IntoFuture<Output = CacheHarness>,
{
    run_within(DEADLINE, factory, behaviour);
}

/// [`run`] with another deadline.
#[doc(hidden)]
pub fn run_within<F, I>(deadline: Duration, factory: F, behaviour: &Behaviour)
where
    F: Fn() -> I,
    I: IntoFuture<Output = CacheHarness>,
{
    let by_hand = |h: &CacheHarness| h.manual_clock().is_some();
    if run_on(&single_thread(), deadline, &factory, behaviour, by_hand) {
        run_on(&two_threads(), deadline, &factory, behaviour, |_| ());
    }
}

/// Checks that what the cache declares, and what it does not, has been put to the test: runs the
/// behaviours that each capability is about and looks whether they asked for it.
///
/// # Panics
///
/// As [`run`], and if a capability is put to no test.
pub fn run_capabilities<F, I>(factory: F)
where
    F: Fn() -> I,
    I: IntoFuture<Output = CacheHarness>,
{
    for capability in Capability::ALL {
        let about =
            BEHAVIOURS.iter().filter(|behaviour| behaviour.capabilities.contains(&capability));
        let asked = about.map(|behaviour| {
            let asked = |h: &CacheHarness| h.was_asked(capability);
            let asked = run_on(&single_thread(), DEADLINE, &factory, behaviour, asked);
            assert!(asked, "{} skips {capability:?}", behaviour.name);
        });
        assert!(asked.count() > 0, "no behaviour tests {capability:?}");
    }
}

/// Runs it, asks the harness what is to be known of it afterwards, and drops that while the runtime is
/// there: what a cache closes as it goes may need it.
fn run_on<F, I, T>(
    runtime: &Runtime,
    deadline: Duration,
    factory: &F,
    behaviour: &Behaviour,
    afterwards: impl FnOnce(&CacheHarness) -> T,
) -> T
where
    F: Fn() -> I,
    I: IntoFuture<Output = CacheHarness>,
{
    watchdog::watch(behaviour.name, deadline, || {
        runtime.block_on(async {
            let harness = factory().await;
            let test = tokio::time::timeout(deadline, (behaviour.run)(&harness));
            assert!(test.await.is_ok(), "{} has not ended after {deadline:?}", behaviour.name);
            afterwards(&harness)
        })
    })
}

fn single_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn two_threads() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}
