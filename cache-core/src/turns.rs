//! Which of many quick operations to measure.

use std::cell::Cell;

/// Picks one operation of so many, at random distances, so that no rhythm of the caller's is always
/// or never hit. It belongs in a thread-local: then asking is a subtraction.
///
/// ```
/// use cache_core::Turns;
///
/// thread_local! {
///     static TURNS: Turns = const { Turns::new() };
/// }
/// let picked = (0..100_000).filter(|_| TURNS.with(|turns| turns.is_due(100))).count();
/// assert!((700..1_400).contains(&picked), "{picked}");
/// ```
#[derive(Debug, Default)]
pub struct Turns(Cell<u32>);

impl Turns {
    /// One that picks the first operation.
    #[must_use]
    pub const fn new() -> Self {
        Self(Cell::new(0))
    }

    /// Whether this operation is one to measure: each of `every` on average.
    #[inline(always)]
    #[must_use]
    pub fn is_due(&self, every: u32) -> bool {
        match self.0.get() {
            0 => {
                self.restart(every);
                true
            }
            left => {
                self.0.set(left - 1);
                false
            }
        }
    }

    #[cold]
    fn restart(&self, every: u32) {
        self.0.set(fastrand::u32(every / 2..every / 2 + every.max(1)));
    }
}
