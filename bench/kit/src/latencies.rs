//! Contestants that take turns and time every operation of theirs.

use crate::{Orders, Spread, Times, cpu_seconds};

/// One of several ways to do the same thing, or two things at a time.
pub struct Timed<'a> {
    names: Vec<String>,
    turn: Box<dyn FnMut() -> Vec<Times> + 'a>,
}

impl<'a> Timed<'a> {
    /// `turn` does the work of one turn.
    pub fn new(name: impl Into<String>, mut turn: impl FnMut() -> Times + 'a) -> Self {
        let turn = move || {
            let before = cpu_seconds();
            let mut times = turn();
            times.spent(cpu_seconds() - before);
            vec![times]
        };
        Self { names: vec![name.into()], turn: Box::new(turn) }
    }

    /// The same for two things that are done in one turn, which tells what each took of the processor.
    pub fn pair(names: [String; 2], mut turn: impl FnMut() -> [Times; 2] + 'a) -> Self {
        Self { names: names.into(), turn: Box::new(move || turn().into()) }
    }
}

impl std::fmt::Debug for Timed<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Timed").field("names", &self.names).finish_non_exhaustive()
    }
}

/// What the operations of one kind took, in all turns.
#[derive(Clone, Debug, Default)]
pub struct Latencies {
    /// Whose.
    pub name: String,
    /// Of all rounds.
    pub times: Times,
    /// Microseconds in the middle, of each round.
    pub medians: Vec<f64>,
}

impl Latencies {
    /// None so far.
    #[must_use]
    pub fn of(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// What it is for each of `first`: in the middle of the rounds, as each of them was measured side by
    /// side.
    #[must_use]
    pub fn beside(&self, first: &Self) -> f64 {
        let ratios = self.medians.iter().zip(&first.medians).map(|(this, first)| this / first);
        Spread::of(ratios).median
    }

    /// Those of one round.
    pub fn round(&mut self, mut times: Times) {
        self.medians.push(times.percentile(50.0));
        self.times.extend(times);
    }
}

/// Lets the contestants take turns for `rounds` rounds, after one that does not count. In the order in
/// which they were given.
pub fn take_turns(mut contestants: Vec<Timed<'_>>, rounds: usize) -> Vec<Latencies> {
    let names = |timed: &Timed<'_>| timed.names.iter().map(Latencies::of).collect::<Vec<_>>();
    let mut measured: Vec<Vec<Latencies>> = contestants.iter().map(names).collect();
    let mut orders = Orders::of(contestants.len());
    for round in 0..=rounds {
        for &at in orders.round() {
            let turn = (contestants[at].turn)();
            if round > 0 {
                measured[at].iter_mut().zip(turn).for_each(|(all, times)| all.round(times));
            }
        }
    }
    measured.into_iter().flatten().collect()
}
