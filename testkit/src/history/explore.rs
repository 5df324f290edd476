//! Many seeds.

use std::ops::Range;

use super::checker::{Mode, check};
use super::record::History;
use super::violation::Violation;

/// Runs one seed alone.
const SEED: &str = "HISTORY_SEED";
/// How many seeds to run instead: for a soak.
const SEEDS: &str = "HISTORY_SEEDS";

/// Runs `history` for each seed, on a runtime of one thread of its own, and checks what it returns.
///
/// With `HISTORY_SEED=n` in the environment it runs that seed alone; with `HISTORY_SEEDS=n` as many
/// as that, from the range's start on.
///
/// # Panics
///
/// At the first seed whose history is wrong, naming the seed and what is wrong with it. And if it is
/// called in a runtime, since it makes its own: it is for a `#[test]`, not for a `#[tokio::test]`, which
/// awaits [`run`](super::run) itself.
///
/// ```
/// use cache_core::{CacheService, Clock};
/// use cache_testkit::{ManualClock, Timestamp, history::{Mode, Node, Options, explore, run}};
/// use std::sync::Arc;
/// # use cache_testkit::MockCacheService;
/// # fn my_cache(_: Clock) -> MockCacheService { MockCacheService::passthrough() }
///
/// explore(0..10, Mode::Strict, async |seed| {
///     let clock = ManualClock::at(Timestamp::ZERO);
///     let cache: Arc<dyn CacheService> = Arc::new(my_cache(clock.clock()));
///     run(seed, vec![Node::new(cache)], Options::new().clock(&clock)).await
/// });
/// ```
#[track_caller]
pub fn explore(seeds: Range<u64>, mode: Mode, history: impl AsyncFn(u64) -> History) {
    let seeds = match (number(SEED), number(SEEDS)) {
        (Some(seed), _) => seed..seed + 1,
        (None, Some(count)) => seeds.start..seeds.start + count,
        (None, None) => seeds,
    };
    if let Some((seed, violation)) = find(seeds, mode, history) {
        panic!("{violation}\nseed {seed}: run it alone with {SEED}={seed}");
    }
}

/// As [`explore`], but returns the first seed that fails, whatever the environment says: for
/// planted bugs.
pub fn find(
    seeds: Range<u64>,
    mode: Mode,
    history: impl AsyncFn(u64) -> History,
) -> Option<(u64, Violation)> {
    for seed in seeds {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let history = runtime.expect("a runtime can be made").block_on(history(seed));
        if let Err(violation) = check(&history, mode) {
            return Some((seed, *violation));
        }
    }
    None
}

fn number(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} is no number: {value}")))
}
