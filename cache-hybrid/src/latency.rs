//! How long the far tier takes to answer, in steps of a factor of two.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The last step has no bound.
const STEPS: usize = 15;
/// Microseconds that the first step ends at.
const FIRST: u64 = 64;

#[derive(Default)]
pub(crate) struct Latency([AtomicU64; STEPS]);

impl Latency {
    pub(crate) fn count(&self, took: Duration) {
        let firsts = took.as_micros() / u128::from(FIRST);
        let step = (u128::BITS - firsts.leading_zeros()) as usize;
        self.0[step.min(STEPS - 1)].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> FarLatency {
        FarLatency(std::array::from_fn(|step| self.0[step].load(Ordering::Relaxed)))
    }
}

/// How many calls of the far tier took how long, those that failed or had no answer in time
/// included.
///
/// ```
/// use cache_hybrid::FarLatency;
///
/// let none = FarLatency::default();
/// assert_eq!((none.calls(), none.quantile(0.95)), (0, None));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FarLatency([u64; STEPS]);

impl FarLatency {
    /// How many calls there were.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Steps, the fastest first: what a call took less than, and how many calls took that and more
    /// than the step before. The last one, of half a second and more, has no bound.
    pub fn steps(&self) -> impl Iterator<Item = (Option<Duration>, u64)> + '_ {
        let bound = |step: usize| match step {
            last if last == STEPS - 1 => None,
            step => Some(Duration::from_micros(FIRST << step)),
        };
        self.0.iter().enumerate().map(move |(step, calls)| (bound(step), *calls))
    }

    /// What this fraction of the calls took at most, to a factor of two: the upper bound of their
    /// step. `None` without calls; [`Duration::MAX`] for half a second and more.
    #[must_use]
    pub fn quantile(&self, fraction: f64) -> Option<Duration> {
        let calls = self.calls();
        if calls == 0 {
            return None;
        }
        let wanted = (calls as f64 * fraction.clamp(0.0, 1.0)).ceil().max(1.0);
        let mut seen = 0;
        self.steps()
            .find(|(_, calls)| {
                seen += calls;
                seen as f64 >= wanted
            })
            .map(|(bound, _)| bound.unwrap_or(Duration::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_is_in_the_step_it_took_less_than() {
        let latency = Latency::default();
        let micros = [0, 63, 64, 127, 128, 1_000, 524_287, 524_288, u64::MAX];
        micros.iter().for_each(|micros| latency.count(Duration::from_micros(*micros)));
        let read = latency.read();
        let counts: Vec<_> = read.steps().map(|(_, calls)| calls).collect();
        assert_eq!(counts, [2, 2, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2]);
        let bounds: Vec<_> = read.steps().map(|(bound, _)| bound).collect();
        assert_eq!(bounds[0], Some(Duration::from_micros(64)));
        assert_eq!(bounds[13], Some(Duration::from_micros(524_288)));
        assert_eq!(bounds[14], None);
        assert_eq!(read.quantile(0.5), Some(Duration::from_micros(256)));
        assert_eq!(read.quantile(1.0), Some(Duration::MAX));
        assert_eq!(read.quantile(0.0), Some(Duration::from_micros(64)));
    }
}
