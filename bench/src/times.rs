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

    /// Microseconds that `percent` of the times stay within; 0 if there are none.
    pub fn percentile(&mut self, percent: usize) -> f64 {
        self.0.sort_unstable();
        let at = (self.0.len() * percent / 100).min(self.0.len().saturating_sub(1));
        self.0.get(at).map_or(0.0, |time| time.as_secs_f64() * 1e6)
    }

    /// Prints them.
    #[allow(clippy::print_stdout, reason = "a benchmark reports on standard output")]
    pub fn report(&mut self, what: &str) {
        let [min, median, late, max] = [0, 50, 99, 100].map(|percent| self.percentile(percent));
        println!("  {what:<44} p50 {median:>7.1} µs  p99 {late:>7.1} µs  ({min:.1}–{max:.1})");
    }
}
