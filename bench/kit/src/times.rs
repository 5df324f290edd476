//! How long something took, many times.

use std::time::Duration;

/// Times, to be asked for their percentiles.
#[derive(Clone, Debug, Default)]
pub struct Times {
    each: Vec<Duration>,
    /// Seconds of the processor, in all threads; 0 if nobody looked.
    cpu: f64,
}

impl Times {
    /// One more.
    pub fn add(&mut self, time: Duration) {
        self.each.push(time);
    }

    /// What took so many seconds of the processor too.
    pub fn spent(&mut self, cpu: f64) {
        self.cpu += cpu;
    }

    /// Those of another, too.
    pub fn extend(&mut self, others: Self) {
        self.each.extend(others.each);
        self.cpu += others.cpu;
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.each.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.each.is_empty()
    }

    /// Microseconds of the processor for each, if somebody looked.
    #[must_use]
    pub fn cpu(&self) -> Option<f64> {
        (self.cpu > 0.0 && !self.is_empty()).then(|| self.cpu * 1e6 / self.len() as f64)
    }

    /// Microseconds that `percent` of the times stay within; 0 if there are none.
    pub fn percentile(&mut self, percent: f64) -> f64 {
        self.each.sort_unstable();
        let at = (self.each.len() as f64 * percent / 100.0) as usize;
        let at = at.min(self.each.len().saturating_sub(1));
        self.each.get(at).map_or(0.0, |time| time.as_secs_f64() * 1e6)
    }
}
