//! In which order contestants have their turns.

use fastrand::Rng;

/// Another order for each round, by chance: a rotation would have everybody come after the same one
/// nearly always, and find the caches of the processor as that one left them. The same in each run.
#[derive(Debug)]
pub struct Orders {
    random: Rng,
    order: Vec<usize>,
}

impl Orders {
    /// Of so many contestants.
    #[must_use]
    pub fn of(contestants: usize) -> Self {
        Self { random: Rng::with_seed(7), order: (0..contestants).collect() }
    }

    /// The next round: the numbers of the contestants, each once.
    pub fn round(&mut self) -> &[usize] {
        self.random.shuffle(&mut self.order);
        &self.order
    }
}
