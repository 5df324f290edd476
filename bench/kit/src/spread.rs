//! The middle of some numbers, and how far they go.

/// Median, least and most.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spread {
    /// The number in the middle; of an even count the upper one of two.
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
        Self { median: at(numbers.len() / 2), min: at(0), max: at(numbers.len().wrapping_sub(1)) }
    }
}
