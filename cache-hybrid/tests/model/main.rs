//! Model checking of what the threads of a store share: the invalidations that are owed, those who
//! wait for another node's load, and the writes that are told together. Their source files are
//! included here with another mutex in the place of the real one, so that every lock is a point where
//! another thread may run.
//!
//! Small cases run over every interleaving (depth-first), larger ones over random schedules.

#![allow(unreachable_pub, dead_code, reason = "included source files")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is how a test fails")]

// What the included files take from these crates is here.
extern crate self as cache_testkit;
extern crate self as parking_lot;

#[path = "../../src/replay.rs"]
mod replay;
#[path = "../../src/teller.rs"]
mod teller;
#[path = "../../src/waiters.rs"]
mod waiters;

mod replaying;
mod telling;
mod waiting;

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::sync::MutexGuard;
use std::task::{Context, Poll, Waker};

/// No lock of these files is held where another thread may run, so each is free when it is asked for.
#[derive(Default)]
pub(crate) struct Mutex<T>(std::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        // The files' own tests are included too, and run in no model.
        if IN_MODEL.get() {
            shuttle::thread::yield_now();
        }
        self.0.try_lock().expect("no thread gives way with a lock in its hands")
    }
}

/// For those tests.
pub(crate) fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

thread_local! {
    static IN_MODEL: Cell<bool> = const { Cell::new(false) };
}

/// Every interleaving of a small case.
fn exhaustively(case: fn()) {
    IN_MODEL.set(true);
    shuttle::check_dfs(case, None);
}

/// Many schedules of a larger case.
fn randomly(case: fn()) {
    IN_MODEL.set(true);
    shuttle::check_random(case, 3_000);
    shuttle::check_pct(case, 3_000, 3);
}
