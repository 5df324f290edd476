//! Model checking of the two structures that hold P1 and P3: the registry of loads in flight and
//! the stripes of leases. Their source files are included here with shuttle's mutex in the place
//! of the real one, so that every lock is a point where another thread may run.
//!
//! Small cases run over every interleaving (depth-first), larger ones over random schedules.

#![allow(unreachable_pub, missing_docs, dead_code, reason = "included source files")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is how a test fails")]

#[path = "../../src/read_through/flights.rs"]
mod flights;
#[path = "../../src/memory/stripes.rs"]
mod stripes;
#[path = "../../src/memory/sweep.rs"]
mod sweep;
/// Shuttle's mutex behind the interface of the real one.
mod sync {
    pub(crate) struct Mutex<T>(shuttle::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(shuttle::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> shuttle::sync::MutexGuard<'_, T> {
            self.0.lock().unwrap()
        }
    }
}

mod leases;
mod loads;
mod tiers;

/// Every interleaving of a small case.
fn exhaustively(case: fn()) {
    shuttle::check_dfs(case, None);
}

/// Many schedules of a larger case.
fn randomly(case: fn()) {
    shuttle::check_random(case, 3_000);
    shuttle::check_pct(case, 3_000, 3);
}
