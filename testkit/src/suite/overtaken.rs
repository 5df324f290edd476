//! What is overtaken while it is under way (P1): a removal or write that begins and ends while a fill
//! is somewhere in the middle, and a fill that begins and ends within a removal or write.
//!
//! Both are polled by hand, so that every place at which one of them stops is tried, whatever the
//! scheduler would do.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cache_core::{CacheService, CacheServiceExt};
use futures_util::future::join;

use super::fixture::{entry, lease_by, number};
use crate::history::{self, Mode, Node, Options};
use crate::{CacheHarness, poll_once};

/// What is overtaken is polled once, twice, … up to so many times before.
const POLLS: usize = 6;
/// How long what overtakes may take while what it overtakes stands still. A backend that has a lock
/// of its own over both is right to take longer: then both go on.
const PATIENCE: Duration = Duration::from_millis(50);
/// How many random histories there are.
const SEEDS: u64 = 20;

/// What a fill writes, and what a write does.
const FILLED: u64 = 1;
const WRITTEN: u64 = 9;

/// What may come between.
#[derive(Clone, Copy, Debug)]
pub(super) enum Change {
    Invalidate,
    InvalidateMany,
    InvalidatePrefix,
    Clear,
    Set,
    SetMany,
}

impl Change {
    pub(super) const ALL: [Self; 6] = [
        Self::Invalidate,
        Self::InvalidateMany,
        Self::InvalidatePrefix,
        Self::Clear,
        Self::Set,
        Self::SetMany,
    ];

    /// Makes it, of a key that begins with `org:`.
    pub(super) async fn make(self, h: &CacheHarness, by: &dyn CacheService, key: &str) {
        let done = match self {
            Self::Invalidate => by.invalidate(key).await,
            Self::InvalidateMany => by.invalidate_many(&["other", key]).await,
            Self::InvalidatePrefix => by.invalidate_prefix("org:").await,
            Self::Clear => by.clear().await,
            Self::Set => by.set(key, &WRITTEN, h.lasting()).await,
            Self::SetMany => by.set_many(&[("other", 8), (key, WRITTEN)], h.lasting()).await,
        };
        done.unwrap_or_else(|error| panic!("{self:?} failed: {error}"));
    }

    /// Checks that nothing of what was loaded before is there. What was written may have been
    /// dropped, as any entry may be.
    pub(super) async fn holds(self, h: &CacheHarness, by: &dyn CacheService, key: &str, why: &str) {
        let writes = matches!(self, Self::Set | Self::SetMany);
        let allowed = |found: Option<u64>| found.is_none() || (writes && found == Some(WRITTEN));
        for cache in [by, &**h.cache()] {
            let peeked = number(cache.peek(key).as_ref());
            let fetched = number(cache.fetch(key).await.unwrap().as_ref());
            let got = cache.get::<u64>(key).await.unwrap();
            let shared = cache.get_arc::<u64>(key).await.unwrap().map(|value| *value);
            for found in [peeked, fetched, got, shared] {
                assert!(allowed(found), "{why}: after {self:?} there is {found:?}");
            }
        }
    }
}

/// Polls `first` so many times, then lets `second` run to its end, then `first`. Returns whether
/// `first` had ended before.
async fn overtake(polls: usize, first: impl Future, second: impl Future) -> bool {
    let (mut first, mut second) = (Box::pin(first), Box::pin(second));
    for _ in 0..polls {
        if poll_once(&mut first).is_ready() {
            second.await;
            return true;
        }
        tokio::task::yield_now().await;
    }
    let start = Instant::now();
    while poll_once(&mut second).is_pending() {
        if start.elapsed() > PATIENCE {
            join(second, first).await;
            return false;
        }
        tokio::task::yield_now().await;
    }
    first.await;
    false
}

/// Fills by `filler` that are overtaken by what `other` does, or, if it is `within`, the other way
/// round.
pub(super) async fn fills_and_changes(
    h: &CacheHarness,
    filler: &dyn CacheService,
    other: &dyn CacheService,
    within: bool,
) {
    let key = "org:k";
    for change in Change::ALL {
        for polls in 1..=POLLS {
            filler.invalidate(key).await.unwrap();
            let held = lease_by(filler, key, h.units(1_000)).await;
            let fill = async { filler.fill(held, entry(h, FILLED)).await.unwrap() };
            let change_it = change.make(h, other, key);
            let ended = if within {
                overtake(polls, change_it, fill).await
            } else {
                overtake(polls, fill, change_it).await
            };
            // Where the fill came last its lease was revoked; else what it stored is gone.
            let why = if within { "a fill came within" } else { "a fill was overtaken" };
            change.holds(h, other, key, &format!("{why} ({polls} polls)")).await;
            if ended {
                break;
            }
        }
    }
}

/// A removal or write that runs while a fill is under way ends it: of its value nothing is
/// there afterwards, whichever of the two the backend takes for the first.
pub async fn a_fill_that_is_overtaken_stores_nothing(h: &CacheHarness) {
    fills_and_changes(h, &**h.cache(), &**h.cache(), false).await;
}

/// A fill that runs while a removal or write is under way does not outlive it.
pub async fn a_fill_within_a_removal_or_write_is_undone(h: &CacheHarness) {
    fills_and_changes(h, &**h.cache(), &**h.cache(), true).await;
}

/// P1 12: whatever four callers do at random, no read finds what was loaded before a removal or
/// write that it began after. Where there is no clock to move it is left out.
pub async fn p1_12_random_histories(h: &CacheHarness) {
    let Some(clock) = h.manual_clock() else { return };
    for seed in 0..SEEDS {
        // Of its own, as what stands under the keys of another is not on record.
        let keys = ["a:1", "a:2", "b:1"].map(|key| format!("{seed}:{key}"));
        let keys = keys.each_ref().map(String::as_str);
        let node = Node::new(Arc::clone(h.cache()));
        let options = Options::new().clock(clock).keys(&keys).with_batches().with_absences();
        let history = history::run(seed, vec![node], options).await;
        if let Err(violation) = history::check(&history, Mode::Strict) {
            panic!("seed {seed}: {violation}");
        }
    }
}
