//! Leases by generation: striped counters that writes and removals bump, and fills compare.
//!
//! Invariants, checked by `tests/model`:
//!
//! 1. A write to a key happens with the lock of the key's stripe held.
//! 2. A revocation bumps the generation under that lock, together with the write it belongs to;
//!    a fill compares the generation and writes under that lock. So no fill whose lease was taken
//!    before a revocation writes after it.
//! 3. A revocation of everything passes through every lock, so no fill that compared before it is
//!    still to write when it returns.
//!
//! Keys share generations: a write may revoke the lease of another key. That fill is refused
//! without need, and the key is loaded again when it is next asked for.

use super::sweep::Hand;
use crate::sync::Mutex;

/// Locks: one for each last byte of a hash.
const STRIPES: usize = 256;
/// Generations under one lock, a power of two.
const GENERATIONS: usize = 16;

pub(crate) struct Stripes {
    stripes: Box<[Padded]>,
}

/// A stripe alone on its cache lines.
#[repr(align(128))]
struct Padded(Mutex<Stripe>);

/// What one lock guards: generations, and the sweep records of the stripe's keys.
pub(crate) struct Stripe {
    generations: [u64; GENERATIONS],
    pub(crate) hand: Hand,
}

impl Stripes {
    pub(crate) fn new() -> Self {
        let stripe = |index| Stripe { generations: [0; GENERATIONS], hand: Hand::new(index) };
        Self { stripes: (0..=u8::MAX).map(|index| Padded(Mutex::new(stripe(index)))).collect() }
    }

    fn stripe(&self, hash: u64) -> &Mutex<Stripe> {
        &self.stripes[hash as usize % STRIPES].0
    }

    /// The present generation of the key with this hash.
    pub(crate) fn generation(&self, hash: u64) -> u64 {
        self.stripe(hash).lock().generations[generation_index(hash)]
    }

    /// Revokes the leases of the key and writes.
    pub(crate) fn revoke<R>(&self, hash: u64, write: impl FnOnce(&mut Hand) -> R) -> R {
        let mut stripe = self.stripe(hash).lock();
        stripe.generations[generation_index(hash)] += 1;
        write(&mut stripe.hand)
    }

    /// Writes if `generation` is still the key's.
    pub(crate) fn commit<R>(
        &self,
        hash: u64,
        generation: u64,
        write: impl FnOnce(&mut Hand) -> R,
    ) -> Option<R> {
        let mut stripe = self.stripe(hash).lock();
        let valid = stripe.generations[generation_index(hash)] == generation;
        valid.then(|| write(&mut stripe.hand))
    }

    /// Revokes the leases of the key and writes, knowing whether `generation` was still the key's.
    pub(crate) fn revoke_others<R>(
        &self,
        hash: u64,
        generation: u64,
        write: impl FnOnce(bool, &mut Hand) -> R,
    ) -> R {
        let mut stripe = self.stripe(hash).lock();
        let present = &mut stripe.generations[generation_index(hash)];
        let valid = *present == generation;
        *present += 1;
        write(valid, &mut stripe.hand)
    }

    /// Writes what changes no value, and so revokes nothing.
    pub(crate) fn write<R>(&self, hash: u64, write: impl FnOnce(&mut Hand) -> R) -> R {
        write(&mut self.stripe(hash).lock().hand)
    }

    /// Revokes every lease.
    pub(crate) fn revoke_all(&self) {
        for stripe in &self.stripes {
            let mut stripe = stripe.0.lock();
            stripe.generations.iter_mut().for_each(|generation| *generation += 1);
        }
    }

    /// Works on the records of one stripe, each stripe in turn as `turn` goes up.
    pub(crate) fn visit<R>(&self, turn: usize, work: impl FnOnce(&mut Hand) -> R) -> R {
        work(&mut self.stripes[turn % STRIPES].0.lock().hand)
    }

    pub(crate) const fn len() -> usize {
        STRIPES
    }
}

fn generation_index(hash: u64) -> usize {
    (hash / STRIPES as u64) as usize % GENERATIONS
}
