//! The engine where the suite does not go: runtimes that stand still, loaders that wait for each other, what
//! a failed call counts.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is how a test fails"
)]

mod answers;
mod circles;
mod overdue;

use std::sync::Arc;
use std::time::Duration;

use cache_core::{CacheError, ManualClock};
use cache_quick::QuickCacheService;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);

/// What a call of `get_or_load` ends with.
type Loaded = Result<Arc<u64>, CacheError>;

/// A cache that lives by `clock`.
fn cache(clock: &ManualClock) -> QuickCacheService {
    QuickCacheService::builder().clock(clock).build()
}
