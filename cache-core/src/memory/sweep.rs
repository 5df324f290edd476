//! What the sweep knows of the entries: a record of each, and a hand that goes round them.

/// A key that was inserted, as the sweep knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) hash: u64,
    /// Of the slot that it is the record of. Should a key be inserted anew and get the ticket that it
    /// had before, which one of 256 does, then it has two records until it is inserted the next time.
    pub(crate) ticket: u8,
    /// The entry lives at least until then.
    pub(crate) due: Tick,
}

/// A record in 12 bytes, as there are many: the last byte of the hash, which all keys of a stripe have
/// in common, makes room for the ticket.
#[derive(Clone, Copy)]
struct Packed {
    hash: u32,
    hash_and_ticket: u32,
    due: Tick,
}

impl Packed {
    fn new(Record { hash, ticket, due }: Record) -> Self {
        let tied = hash & !0xFF | u64::from(ticket);
        Self { hash: (tied >> 32) as u32, hash_and_ticket: tied as u32, due }
    }

    fn record(self, stripe: u8) -> Record {
        let tied = u64::from(self.hash) << 32 | u64::from(self.hash_and_ticket);
        let hash = tied & !0xFF | u64::from(stripe);
        Record { hash, ticket: tied as u8, due: self.due }
    }
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

    /// When it begins.
    #[inline]
    pub(crate) fn micros(self) -> u64 {
        u64::from(self.0) << Self::MICROS_LOG2
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
pub(crate) struct Hand {
    records: Vec<Packed>,
    /// What the hashes of its keys end in.
    stripe: u8,
    next_ticket: u8,
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
    /// Of the keys whose hashes end in `stripe`.
    pub(crate) fn new(stripe: u8) -> Self {
        Self { records: Vec::new(), stripe, next_ticket: 0, at: 0, found_live: 0, passes: 0 }
    }

    /// For a slot that gets a record.
    pub(crate) fn next_ticket(&mut self) -> u8 {
        self.next_ticket = self.next_ticket.wrapping_add(1);
        self.next_ticket
    }

    pub(crate) fn add(&mut self, record: Record) {
        if self.records.len() == self.records.capacity() {
            // By less than a vector would: there are many stripes, and what they spare adds up.
            self.records.reserve_exact(self.records.len() / 8 + 4);
        }
        self.records.push(Packed::new(record));
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
            let found = look(record.record(self.stripe));
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

    const STRIPE: u8 = 0x5A;

    /// Of the key with that number.
    fn record(number: u64, due: Tick) -> Record {
        Record { hash: number << 8 | u64::from(STRIPE), ticket: number as u8, due }
    }

    fn number(record: Record) -> u64 {
        assert_eq!(record.hash as u8, STRIPE);
        record.hash >> 8
    }

    fn hand(count: u64, due: Tick) -> Hand {
        let mut hand = Hand::new(STRIPE);
        (0..count).for_each(|number| hand.add(record(number, due)));
        hand
    }

    #[test]
    fn a_record_is_small_and_whole() {
        assert_eq!(size_of::<Packed>(), 12);
        for number in [0, 1, 0x12_3456_789A_BCDE, u64::MAX >> 8] {
            let record = record(number, NOW);
            assert_eq!(Packed::new(record).record(STRIPE), record);
        }
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
        let live = |record: Record| number(record).is_multiple_of(2);
        assert!((1_000..1_020).contains(&looks(&mut hand, 125, live)));
        assert_eq!(hand.len(), 500, "half were over");
        assert!(looks(&mut hand, 125, live) < 40, "the others are due later");
    }

    #[test]
    fn records_of_what_is_gone_stay_in_proportion() {
        let mut hand = hand(1_000, LATER);
        // As many come as go, of a thousand that are live.
        for newest in 1_000..100_000 {
            hand.add(record(newest, LATER));
            looks(&mut hand, 1, |record| number(record) + 1_000 > newest);
        }
        assert!(hand.len() < 3_000, "{} records of 1,000 live ones", hand.len());
    }

    #[test]
    fn a_thorough_pass_looks_at_every_one() {
        let mut hand = hand(1_000, LATER);
        // So that it does not begin at the first.
        looks(&mut hand, 70, |_| true);
        let pass = Pass { now: NOW, count: usize::MAX, thorough: true };
        hand.pass(pass, |record| number(record).is_multiple_of(3).then_some(LATER));
        assert_eq!(hand.len(), 334);
    }

    #[test]
    fn in_a_small_stripe_every_record_has_its_turn() {
        let mut hand = hand(6, LATER);
        looks(&mut hand, 200, |record| number(record) < 2);
        assert_eq!(hand.len(), 2);
    }

    #[test]
    fn a_tick_is_never_after_its_time() {
        for (micros, tick) in [(1_048_575, 0), (1_048_576, 1), (u64::MAX, u32::MAX)] {
            assert_eq!(Tick::of_micros(micros), Tick(tick));
            assert!(Tick(tick).micros() <= micros);
        }
    }
}
