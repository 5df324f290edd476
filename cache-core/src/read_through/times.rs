//! How long near hits and loads take.
//!
//! A near hit takes some tens of nanoseconds, and reading a clock as long again: one of
//! [`EVERY`] is measured, which costs the others a subtraction.

use std::time::Instant;

use crate::{Durations, Histogram, Turns};

/// Hits of one thread to one that is measured.
const EVERY: u32 = 1_024;

thread_local! {
    static TURNS: Turns = const { Turns::new() };
}

/// How long what an engine does takes.
///
/// ```
/// use cache_core::EngineTimes;
///
/// fn report(times: &EngineTimes) -> String {
///     format!("a load in a hundred takes more than {:?}", times.loads.quantile(0.99))
/// }
/// # assert!(report(&EngineTimes::default()).ends_with("None"));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EngineTimes {
    /// Lookups that what the process holds has answered: one of 1,024 of each thread, decoding not
    /// included.
    pub near_hits: Durations,
    /// Calls of loaders, those included that failed or were given up.
    pub loads: Durations,
}

#[derive(Debug, Default)]
pub(super) struct Times {
    near_hits: Histogram,
    pub(super) loads: Histogram,
}

impl Times {
    /// Whether the next lookup of this thread is to be measured.
    #[inline(always)]
    pub(super) fn is_turn() -> bool {
        TURNS.with(|turns| turns.is_due(EVERY))
    }

    /// Measures a lookup, if it is a hit. Apart, so that those which are not measured stay small.
    #[cold]
    #[inline(never)]
    pub(super) fn measure<T>(&self, look_up: impl FnOnce() -> Option<T>) -> Option<T> {
        // Not the service's clock, which counts microseconds.
        let begun = Instant::now();
        let found = look_up()?;
        self.near_hits.record(begun.elapsed());
        Some(found)
    }

    pub(super) fn snapshot(&self) -> EngineTimes {
        let Self { near_hits, loads } = self;
        EngineTimes { near_hits: near_hits.snapshot(), loads: loads.snapshot() }
    }
}
