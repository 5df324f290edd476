//! How long something took, many times.

use std::time::Duration;

/// Times, to be asked for their percentiles.
#[derive(Clone, Debug, Default)]
pub struct Times(Vec<Duration>);

impl Times {
    /// One more.
    pub fn add(&mut self, time: Duration) {
        self.0.push(time);
    }

    /// Those of another, too.
    pub fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Microseconds that `percent` of the times stay within; 0 if there are none.
    pub fn percentile(&mut self, percent: f64) -> f64 {
        self.0.sort_unstable();
        let at = (self.0.len() as f64 * percent / 100.0) as usize;
        let at = at.min(self.0.len().saturating_sub(1));
        self.0.get(at).map_or(0.0, |time| time.as_secs_f64() * 1e6)
    }
}
