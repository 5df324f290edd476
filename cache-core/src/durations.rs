//! How long things took: a histogram that many threads record into, and snapshots of it.
//!
//! The edges between buckets are the preferred numbers of ISO 3, twenty to a decade: 1, 1.12, 1.25,
//! 1.4, 1.6, .. 10. So a duration is known to within 8 %, and the edges that people write down (1, 2.5
//! and 5 of any unit) are edges here: a count of what took longer than that is exact.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Twenty steps from 1 up to and without 10, in hundredths.
const STEPS: [u64; 20] = [
    100, 112, 125, 140, 160, 180, 200, 224, 250, 280, 315, 355, 400, 450, 500, 560, 630, 710, 800,
    900,
];
/// From 10 ns to 1,000 s.
const DECADES: usize = 11;
const EDGES: usize = STEPS.len() * DECADES;
/// One below each edge, and one above the last.
const BUCKETS: usize = EDGES + 1;

/// In nanoseconds. Bucket `n` is above edge `n - 1`, up to edge `n` and with it.
static EDGE: [u64; EDGES] = edges();

const fn edges() -> [u64; EDGES] {
    let mut edges = [0; EDGES];
    let (mut at, mut scale) = (0, 10);
    while at < EDGES {
        edges[at] = STEPS[at % STEPS.len()] * scale / 100;
        at += 1;
        if at % STEPS.len() == 0 {
            scale *= 10;
        }
    }
    edges
}

/// What stands for the durations in a bucket: its middle, and nothing at all for those below 10 ns.
fn middle(bucket: usize) -> Duration {
    let nanos = match bucket {
        0 => 0,
        EDGES => EDGE[EDGES - 1],
        bucket => EDGE[bucket - 1].midpoint(EDGE[bucket]),
    };
    Duration::from_nanos(nanos)
}

/// Counts durations by their length. Recording is one relaxed addition, and never blocks.
///
/// ```
/// use cache_core::Histogram;
/// use std::time::Duration;
///
/// let reads = Histogram::new();
/// for millis in 1..=100 {
///     reads.record(Duration::from_millis(millis));
/// }
/// let reads = reads.snapshot();
/// assert_eq!(reads.count(), 100);
/// let p95 = reads.quantile(0.95).unwrap();
/// assert!((90..100).contains(&p95.as_millis()));
/// ```
#[derive(Debug)]
pub struct Histogram(Box<[AtomicU64]>);

impl Histogram {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self((0..BUCKETS).map(|_| AtomicU64::new(0)).collect())
    }

    /// Counts one. What is longer than 1,000 s counts as 1,000 s.
    pub fn record(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let bucket = EDGE.partition_point(|edge| *edge < nanos);
        if let Some(count) = self.0.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What was recorded so far.
    #[must_use]
    pub fn snapshot(&self) -> Durations {
        Durations(self.0.iter().map(|count| count.load(Ordering::Relaxed)).collect())
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

/// A snapshot of a [`Histogram`]: how many took how long, to within 8 %.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Durations(Box<[u64]>);

impl Durations {
    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.iter().sum()
    }

    /// What the part `quantile` (0 to 1) of them did not exceed; `None` if there are none.
    ///
    /// ```
    /// use cache_core::Durations;
    ///
    /// assert_eq!(Durations::default().quantile(0.99), None);
    /// ```
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> Option<Duration> {
        let rank = (quantile.clamp(0.0, 1.0) * self.count() as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        self.iter().find_map(|(duration, count)| {
            seen += count;
            (seen >= rank).then_some(duration)
        })
    }

    /// Those that were recorded after `earlier`, a snapshot of the same histogram.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let before = earlier.0.iter().copied().chain(std::iter::repeat(0));
        Self(self.0.iter().zip(before).map(|(now, before)| now.saturating_sub(before)).collect())
    }

    /// Each length that occurs, with how many there are of it; the shortest first.
    pub fn iter(&self) -> impl Iterator<Item = (Duration, u64)> {
        let counts = self.0.iter().copied().enumerate();
        counts.filter(|(_, count)| *count > 0).map(|(bucket, count)| (middle(bucket), count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded(durations: &[Duration]) -> Durations {
        let histogram = Histogram::new();
        durations.iter().for_each(|duration| histogram.record(*duration));
        histogram.snapshot()
    }

    #[test]
    fn a_duration_is_known_to_within_eight_percent() {
        assert!(EDGE.is_sorted_by(|a, b| a < b));
        let mut nanos = 100_u64;
        while nanos < 900_000_000_000 {
            let known = recorded(&[Duration::from_nanos(nanos)]).quantile(1.0).unwrap();
            let off = known.as_nanos() as f64 / nanos as f64 - 1.0;
            assert!(off.abs() < 0.075, "{nanos} ns is taken for {known:?}");
            nanos += nanos / 37;
        }
        for (extreme, known) in [(0, 0), (9, 0), (u64::MAX, 900_000_000_000)] {
            let durations = recorded(&[Duration::from_nanos(extreme)]);
            assert_eq!(durations.quantile(0.5), Some(Duration::from_nanos(known)));
        }
    }

    #[test]
    fn round_numbers_are_edges() {
        for millis in [1, 5, 10, 25, 50, 250, 1_000, 2_500] {
            let edge = Duration::from_millis(millis);
            let at = recorded(&[edge]).quantile(1.0).unwrap();
            let above = recorded(&[edge + Duration::from_nanos(1)]).quantile(1.0).unwrap();
            assert!(at < edge && edge < above, "{edge:?}: {at:?}, {above:?}");
        }
    }

    #[test]
    fn snapshots_subtract() {
        let histogram = Histogram::new();
        histogram.record(Duration::from_millis(1));
        let earlier = histogram.snapshot();
        histogram.record(Duration::from_millis(1));
        histogram.record(Duration::from_secs(1));
        let since = histogram.snapshot().since(&earlier);
        assert_eq!((since.count(), histogram.snapshot().count()), (2, 3));
        assert_eq!(since.iter().map(|(_, count)| count).collect::<Vec<_>>(), [1, 1]);
        assert_eq!(histogram.snapshot().since(&Durations::default()).count(), 3);
    }
}
