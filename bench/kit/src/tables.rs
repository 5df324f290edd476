//! Tables of what was measured in the usual ways.

use crate::{Figure, Latencies, Spread, Table, Times};

impl Table {
    /// What contestants took, in nanoseconds, each beside the first as a ratio.
    #[must_use]
    pub fn of_figures(id: impl Into<String>, title: impl Into<String>, figures: &[Figure]) -> Self {
        let mut table = Self::new(id, title, &["ns", "min ns", "max ns", "×"]);
        for figure in figures {
            let Figure { name, median, min, max, turns, .. } = figure;
            let cells = [*median, *min, *max, figure.beside(&figures[0])].map(Some);
            table.sampled_row(name, &cells, turns);
        }
        table
    }

    /// The same in microseconds, with the processor's share: for what waits for a server.
    #[must_use]
    pub fn of_waits(id: impl Into<String>, title: impl Into<String>, figures: &[Figure]) -> Self {
        let mut table = Self::new(id, title, &["µs", "min µs", "max µs", "client CPU µs", "×"]);
        for figure in figures {
            let Figure { name, median, min, max, cpu, turns } = figure;
            let [micros, min, max, cpu] = [median, min, max, cpu].map(|nanos| nanos / 1e3);
            let cells = [micros, min, max, cpu, figure.beside(&figures[0])].map(Some);
            let turns: Vec<f64> = turns.iter().map(|nanos| nanos / 1e3).collect();
            table.sampled_row(name, &cells, &turns);
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
        let columns = ["p50 µs", "p99 µs", "min µs", "max µs", "times", "client CPU µs"];
        let looked = rows.iter().any(|row| row.times.cpu().is_some());
        let mut table = Self::new(id, title, &columns[..columns.len() - usize::from(!looked)]);
        for Latencies { name, times, medians } in rows {
            let [p50, p99, min, max] =
                [50.0, 99.0, 0.0, 100.0].map(|percent| Some(times.percentile(percent)));
            let count = Some(times.len() as f64);
            table.sampled_row(&**name, &[p50, p99, min, max, count, times.cpu()], medians);
        }
        table
    }
}

impl Figure {
    /// What it is for each of `first`: in the middle of the rounds, as each of them was measured side by
    /// side.
    #[must_use]
    pub fn beside(&self, first: &Self) -> f64 {
        Spread::of(self.turns.iter().zip(&first.turns).map(|(this, first)| this / first)).median
    }
}
