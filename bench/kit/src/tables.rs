//! Tables of what was measured in the usual ways.

use crate::{Figure, Latencies, Table, Times};

impl Table {
    /// What contestants took, in nanoseconds, each beside the first as a ratio.
    #[must_use]
    pub fn of_figures(id: impl Into<String>, title: impl Into<String>, figures: &[Figure]) -> Self {
        let mut table = Self::new(id, title, &["ns", "min ns", "max ns", "×"]);
        for Figure { name, median, min, max, .. } in figures {
            table.row(name, &[*median, *min, *max, median / figures[0].median].map(Some));
        }
        table
    }

    /// The same in microseconds, with the processor's share: for what waits for a server.
    #[must_use]
    pub fn of_waits(id: impl Into<String>, title: impl Into<String>, figures: &[Figure]) -> Self {
        let mut table = Self::new(id, title, &["µs", "min µs", "max µs", "client CPU µs", "×"]);
        for Figure { name, median, min, max, cpu } in figures {
            let [micros, min, max, cpu] = [median, min, max, cpu].map(|nanos| nanos / 1e3);
            table.row(name, &[micros, min, max, cpu, median / figures[0].median].map(Some));
        }
        table
    }

    /// Percentiles of times, in microseconds.
    #[must_use]
    pub fn of_times(
        id: impl Into<String>,
        title: impl Into<String>,
        rows: Vec<(&str, &mut Times)>,
    ) -> Self {
        let mut table = Self::new(id, title, &["p50 µs", "p99 µs", "min µs", "max µs"]);
        for (name, times) in rows {
            let cells = [50.0, 99.0, 0.0, 100.0].map(|percent| Some(times.percentile(percent)));
            table.row(name, &cells);
        }
        table
    }

    /// The same of contestants that took turns, with the processor's share where somebody looked.
    #[must_use]
    pub fn of_latencies(
        id: impl Into<String>,
        title: impl Into<String>,
        rows: &mut [Latencies],
    ) -> Self {
        let columns = ["p50 µs", "p99 µs", "min µs", "max µs", "client CPU µs"];
        let looked = rows.iter().any(|row| row.times.cpu().is_some());
        let mut table = Self::new(id, title, &columns[..columns.len() - usize::from(!looked)]);
        for Latencies { name, times, .. } in rows {
            let [p50, p99, min, max] =
                [50.0, 99.0, 0.0, 100.0].map(|percent| Some(times.percentile(percent)));
            table.row(&**name, &[p50, p99, min, max, times.cpu()]);
        }
        table
    }
}
