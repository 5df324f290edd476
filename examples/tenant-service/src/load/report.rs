//! What became of the requests, and how long they took.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// How many failed of which sort.
pub type Failures = BTreeMap<String, u64>;

/// A run.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// How long the run was to be.
    pub duration: Duration,
    /// What the reads that were answered took, from the moment they were due, in ascending order.
    pub latencies: Vec<Duration>,
    /// What the changes took.
    pub change_latencies: Vec<Duration>,
    /// Changes of which the service says that the caches are to be told later.
    pub pending_changes: u64,
    /// Answers that were older than they may be.
    pub stale: u64,
    /// Answers that were not what was asked for.
    pub wrong: u64,
    /// Requests that failed.
    pub failures: Failures,
    /// Of all lookups in caches during the run, the part that were hits; if that is known.
    pub hit_ratio: Option<f64>,
}

impl Report {
    /// Whether every request was answered with what it asked for, as new as it has to be.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.failures.is_empty() && self.stale == 0 && self.wrong == 0
    }

    /// What this part of the reads, from 0 to 1, stayed within.
    #[must_use]
    pub fn percentile(&self, part: f64) -> Duration {
        percentile(&self.latencies, part)
    }
}

/// The nearest-rank percentile of what is in ascending order; zero of nothing.
fn percentile(ascending: &[Duration], part: f64) -> Duration {
    let rank = (ascending.len() as f64 * part).ceil() as usize;
    ascending.get(rank.max(1) - 1).copied().unwrap_or_default()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = |f: &mut fmt::Formatter<'_>, name: &str, latencies: &[Duration]| {
            let at = |part| millis(percentile(latencies, part));
            let per_second = latencies.len() as f64 / self.duration.as_secs_f64().max(0.001);
            writeln!(
                f,
                "{name:<8} {:>9} {per_second:>9.0} {:>9} {:>9} {:>9} {:>9}",
                latencies.len(),
                at(0.5),
                at(0.95),
                at(0.99),
                at(1.0),
            )
        };
        writeln!(
            f,
            "{:<8} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
            "", "answered", "a second", "p50 ms", "p95 ms", "p99 ms", "max ms"
        )?;
        row(f, "reads", &self.latencies)?;
        if !self.change_latencies.is_empty() {
            row(f, "changes", &self.change_latencies)?;
            writeln!(f, "\nanswers older than they may be: {}", self.stale)?;
            if self.pending_changes > 0 {
                writeln!(
                    f,
                    "changes the caches are to be told of later: {}",
                    self.pending_changes
                )?;
            }
        }
        if self.wrong > 0 {
            writeln!(f, "\nanswers that were not what was asked for: {}", self.wrong)?;
        }
        match self.failures.is_empty() {
            true => writeln!(f, "\nfailed: none")?,
            false => writeln!(f, "\nfailed:")?,
        }
        for (sort, count) in &self.failures {
            writeln!(f, "  {count:>9}  {sort}")?;
        }
        if let Some(ratio) = self.hit_ratio {
            writeln!(f, "hit ratio: {:.2} %", ratio * 100.0)?;
        }
        Ok(())
    }
}

fn millis(duration: Duration) -> String {
    format!("{:.2}", duration.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let hundred: Vec<_> = (1..=100).map(Duration::from_millis).collect();
        for (part, millis) in [(0.0, 1), (0.5, 50), (0.95, 95), (0.99, 99), (1.0, 100)] {
            assert_eq!(percentile(&hundred, part), Duration::from_millis(millis), "{part}");
        }
        assert_eq!(percentile(&[], 0.5), Duration::ZERO);
    }

    #[test]
    fn the_table_says_what_went_wrong() {
        let mut report = Report {
            duration: Duration::from_secs(1),
            latencies: vec![Duration::from_millis(1); 10],
            hit_ratio: Some(0.975),
            ..Report::default()
        };
        assert!(report.is_good());
        assert!(report.to_string().contains("failed: none\nhit ratio: 97.50 %"), "{report}");
        report.failures.insert("status 503".to_owned(), 7);
        assert!(!report.is_good());
        assert!(report.to_string().contains("7  status 503"), "{report}");
    }
}
