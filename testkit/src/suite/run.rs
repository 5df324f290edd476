//! Running a behaviour: a runtime, a fresh harness, a deadline.

use std::future::IntoFuture;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use super::list::{BEHAVIOURS, Behaviour};
use crate::{CacheHarness, Capability};

/// No behaviour takes this long: one that does hangs.
const DEADLINE: Duration = Duration::from_secs(60);

/// Runs a behaviour on a cache that `factory` makes: once on a single thread, where tasks take
/// turns in the same order each time, and, where the harness has a manual clock, once more with
/// two worker threads.
///
/// # Panics
///
/// If the cache misbehaves, or the behaviour has not ended after 60 s.
pub fn run<F, I>(factory: F, behaviour: &Behaviour)
where
    F: Fn() -> I,
    I: IntoFuture<Output = CacheHarness>,
{
    let harness = run_on(&single_thread(), &factory, behaviour);
    if harness.manual_clock().is_some() {
        drop(harness);
        drop(run_on(&two_threads(), &factory, behaviour));
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
            let harness = run_on(&single_thread(), &factory, behaviour);
            assert!(harness.was_asked(capability), "{} skips {capability:?}", behaviour.name);
        });
        assert!(asked.count() > 0, "no behaviour tests {capability:?}");
    }
}

fn run_on<F, I>(runtime: &Runtime, factory: &F, behaviour: &Behaviour) -> CacheHarness
where
    F: Fn() -> I,
    I: IntoFuture<Output = CacheHarness>,
{
    runtime.block_on(async {
        let harness = factory().await;
        let test = tokio::time::timeout(DEADLINE, (behaviour.run)(&harness));
        assert!(test.await.is_ok(), "{} has not ended after {DEADLINE:?}", behaviour.name);
        harness
    })
}

fn single_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn two_threads() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}
