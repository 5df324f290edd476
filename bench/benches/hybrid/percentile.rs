//! How long something took, many times.

use std::time::Duration;

/// Times, to be asked for their percentiles.
#[derive(Default)]
pub(crate) struct Times(Vec<Duration>);

impl Times {
    pub(crate) fn add(&mut self, time: Duration) {
        self.0.push(time);
    }

    /// Microseconds that `percent` of the times stay within.
    pub(crate) fn percentile(&mut self, percent: usize) -> f64 {
        self.0.sort_unstable();
        let at = (self.0.len() * percent / 100).min(self.0.len() - 1);
        self.0[at].as_secs_f64() * 1e6
    }

    pub(crate) fn report(&mut self, what: &str) {
        let [min, median, late, max] = [0, 50, 99, 100].map(|percent| self.percentile(percent));
        println!("  {what:<44} p50 {median:>7.1} µs  p99 {late:>7.1} µs  ({min:.1}–{max:.1})");
    }
}
