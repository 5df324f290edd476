//! The middle of some numbers, and how far they go.

/// Median, least and most.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spread {
    /// The number in the middle; of an even count the mean of the two.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The most.
    pub max: f64,
}

impl Spread {
    /// Of `numbers`; all 0 if there are none.
    pub fn of(numbers: impl IntoIterator<Item = f64>) -> Self {
        let mut numbers: Vec<f64> = numbers.into_iter().collect();
        numbers.sort_by(f64::total_cmp);
        let at = |index: usize| numbers.get(index).copied().unwrap_or_default();
        let last = numbers.len().saturating_sub(1);
        let median = f64::midpoint(at(last / 2), at(numbers.len() / 2));
        Self { median, min: at(0), max: at(last) }
    }
}
