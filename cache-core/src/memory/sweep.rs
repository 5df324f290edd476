//! What the sweep knows of the entries: a record of each, and a hand that goes round them.

/// A key that was inserted, as the sweep knows it.
#[derive(Clone, Copy)]
pub(crate) struct Record {
    pub(crate) hash: u64,
    pub(crate) ticket: u32,
    /// The entry lives at least until then.
    pub(crate) due: Tick,
}

/// A time as records have it: coarse, so that it is small, and never later than the time it is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tick(u32);

impl Tick {
    /// About a second.
    const MICROS_LOG2: u32 = 20;

    pub(crate) fn of_micros(micros: u64) -> Self {
        Self(u32::try_from(micros >> Self::MICROS_LOG2).unwrap_or(u32::MAX))
    }
}

/// So many live entries looked at in a row say that few records are of keys that are gone.
const CALM: u8 = 16;
/// How many records that are not due a pass looks at when there may be many of keys that are gone.
const PROBES: usize = 2;
/// Otherwise one pass in so many looks at one.
const CALM_PASSES: u8 = 16;

/// The sweep's records of one stripe, and a clock hand that goes round them.
///
/// A key gets a record when it is inserted where none was. The record goes when the hand finds the
/// entry expired or gone. To pass a record that is not due costs nothing but the pass: looking at the
/// entry, which nobody may have touched for long, is what costs. What was evicted or removed leaves a
/// record that is not due, so some of these are looked at too: the more, the more of them prove to be
/// gone, which keeps the records in proportion to the entries.
#[derive(Default)]
pub(crate) struct Hand {
    records: Vec<Record>,
    at: usize,
    /// Live entries found in a row where a record was not due.
    found_live: u8,
    passes: u8,
}

/// How a pass is to be made.
#[derive(Clone, Copy)]
pub(crate) struct Pass {
    pub(crate) now: Tick,
    /// How many records to pass.
    pub(crate) count: usize,
    /// Whether to look at every one of them, from the first one on.
    pub(crate) thorough: bool,
}

impl Hand {
    pub(crate) fn add(&mut self, record: Record) {
        self.records.push(record);
    }

    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    /// Passes records, and looks at those that are due, and at a few that are not. `look` says when
    /// the entry is due next, or that it is gone; then the record goes too.
    pub(crate) fn pass(&mut self, pass: Pass, mut look: impl FnMut(Record) -> Option<Tick>) {
        let mut probes = self.probes();
        // All are passed from the beginning: coming round to it, a record that was passed already would
        // be swapped forward and passed again, in place of another.
        if pass.thorough {
            self.at = 0;
        }
        for _ in 0..pass.count.min(self.records.len()) {
            if self.at >= self.records.len() {
                self.at = 0;
            }
            let Some(record) = self.records.get_mut(self.at) else {
                break;
            };
            let is_due = record.due <= pass.now;
            if !is_due && !pass.thorough {
                if probes == 0 {
                    self.at += 1;
                    continue;
                }
                probes -= 1;
            }
            let found = look(*record);
            if !is_due {
                self.found_live = found.map_or(0, |_| self.found_live.saturating_add(1));
            }
            match found {
                Some(due) => {
                    record.due = due;
                    self.at += 1;
                }
                None => drop(self.records.swap_remove(self.at)),
            }
        }
        if pass.count >= self.records.len() && !self.records.is_empty() {
            // It has come round to where it began: the next look is at others.
            self.at = (self.at + PROBES) % self.records.len();
        }
        if self.records.len() < self.records.capacity() / 4 {
            self.records.shrink_to(self.records.len() * 2);
        }
    }

    fn probes(&mut self) -> usize {
        self.passes = self.passes.wrapping_add(1);
        if self.found_live < CALM {
            return PROBES;
        }
        usize::from(self.passes.is_multiple_of(CALM_PASSES))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Tick = Tick(100);
    const LATER: Tick = Tick(200);

    fn hand(count: usize, due: Tick) -> Hand {
        let mut hand = Hand::default();
        (0..count).for_each(|at| hand.add(Record { hash: at as u64, ticket: 0, due }));
        hand
    }

    /// How many records so many passes look at.
    fn looks(hand: &mut Hand, passes: usize, live: impl Fn(Record) -> bool) -> usize {
        let (mut looks, pass) = (0, Pass { now: NOW, count: 8, thorough: false });
        for _ in 0..passes {
            hand.pass(pass, |record| {
                looks += 1;
                live(record).then_some(LATER)
            });
        }
        looks
    }

    #[test]
    fn records_that_are_not_due_are_hardly_looked_at() {
        let mut hand = hand(1_000, LATER);
        let looks = looks(&mut hand, 1_600, |_| true);
        assert!((100..=120).contains(&looks), "{looks} in 1,600 passes of 8");
        assert_eq!(hand.len(), 1_000);
    }

    #[test]
    fn records_that_are_due_are_looked_at_once() {
        let mut hand = hand(1_000, NOW);
        let live = |record: Record| record.hash.is_multiple_of(2);
        assert!((1_000..1_020).contains(&looks(&mut hand, 125, live)));
        assert_eq!(hand.len(), 500, "half were over");
        assert!(looks(&mut hand, 125, live) < 40, "the others are due later");
    }

    #[test]
    fn records_of_what_is_gone_stay_in_proportion() {
        let mut hand = hand(1_000, LATER);
        // As many come as go, of a thousand that are live.
        for newest in 1_000..100_000 {
            hand.add(Record { hash: newest, ticket: 0, due: LATER });
            looks(&mut hand, 1, |record| record.hash + 1_000 > newest);
        }
        assert!(hand.len() < 3_000, "{} records of 1,000 live ones", hand.len());
    }

    #[test]
    fn a_thorough_pass_looks_at_every_one() {
        let mut hand = hand(1_000, LATER);
        // So that it does not begin at the first.
        looks(&mut hand, 70, |_| true);
        let pass = Pass { now: NOW, count: usize::MAX, thorough: true };
        hand.pass(pass, |record| record.hash.is_multiple_of(3).then_some(LATER));
        assert_eq!(hand.len(), 334);
    }

    #[test]
    fn in_a_small_stripe_every_record_has_its_turn() {
        let mut hand = hand(6, LATER);
        looks(&mut hand, 200, |record| record.hash < 2);
        assert_eq!(hand.len(), 2);
    }

    #[test]
    fn a_tick_is_never_after_its_time() {
        assert!(Tick::of_micros(1_048_575) < Tick::of_micros(1_048_576));
        assert_eq!(Tick::of_micros(u64::MAX), Tick(u32::MAX));
    }
}
