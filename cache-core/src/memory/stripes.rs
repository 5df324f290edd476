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
//! 4. A revocation by prefix does so too, but revokes only what begins with the prefix. It takes the
//!    next number and is listed under it; then it passes through every lock, where it bumps every
//!    generation and leaves its number; one at a time, so that they pass everywhere in the order of
//!    their numbers. A fill that finds its generation bumped, and by no write, so knows how many of
//!    them have passed since its lease, and that these are the last: it looks them up, with the
//!    lock held, and is refused if one selects its key or is listed no more. So of 2 nothing is lost:
//!    whoever compares after a revocation by prefix has passed sees it, as it was listed before.
//!
//! Keys share generations: a write may revoke the lease of another key. That fill is refused
//! without need, and the key is loaded again when it is next asked for.

use std::collections::VecDeque;

use super::sweep::Hand;
use crate::sync::Mutex;

/// Locks: one for each last byte of a hash.
const STRIPES: usize = 256;
/// Generations under one lock, a power of two.
const GENERATIONS: usize = 16;
/// How many revocations by prefix are listed.
const LISTED: usize = 64;

pub(crate) struct Stripes {
    stripes: Box<[Padded]>,
    /// Held by the revocation by prefix that is on its way through the locks.
    passing: Mutex<()>,
    /// Locked within a stripe's lock, never around one.
    listed: Mutex<Listed>,
}

/// The last revocations by prefix.
struct Listed {
    /// Oldest first.
    prefixes: VecDeque<Box<str>>,
    /// The newest one's number; the first has 1.
    newest: u64,
}

impl Listed {
    /// Whether one of the `count` up to number `last` selects `key`, or is listed no more.
    fn revoke(&self, key: &str, last: u64, count: u64) -> bool {
        // How many are listed that came after `last`.
        let later = self.newest.saturating_sub(last);
        let Ok(needed) = usize::try_from(later.saturating_add(count)) else { return true };
        let Some(first) = self.prefixes.len().checked_sub(needed) else { return true };
        let until = self.prefixes.len() - later as usize;
        self.prefixes.range(first..until).any(|prefix| key.starts_with(&**prefix))
    }
}

/// A stripe alone on its cache lines.
#[repr(align(128))]
struct Padded(Mutex<Stripe>);

/// What one lock guards: generations, and the sweep records of the stripe's keys.
pub(crate) struct Stripe {
    generations: [Generation; GENERATIONS],
    /// The number of the last revocation by prefix that has passed.
    passed: u64,
    pub(crate) hand: Hand,
}

#[derive(Clone, Copy, Default)]
struct Generation {
    present: u64,
    /// The last that a write began, or a revocation of everything.
    written: u64,
}

impl Generation {
    fn bump(&mut self) {
        self.present += 1;
        self.written = self.present;
    }
}

impl Stripes {
    pub(crate) fn new() -> Self {
        let stripe = |index| Stripe {
            generations: [Generation::default(); GENERATIONS],
            passed: 0,
            hand: Hand::new(index),
        };
        let listed = Listed { prefixes: VecDeque::new(), newest: 0 };
        Self {
            stripes: (0..=u8::MAX).map(|index| Padded(Mutex::new(stripe(index)))).collect(),
            passing: Mutex::new(()),
            listed: Mutex::new(listed),
        }
    }

    fn stripe(&self, hash: u64) -> &Mutex<Stripe> {
        &self.stripes[hash as usize % STRIPES].0
    }

    /// The present generation of the key with this hash.
    pub(crate) fn generation(&self, hash: u64) -> u64 {
        self.stripe(hash).lock().generations[generation_index(hash)].present
    }

    /// Whether a lease on `key` from `generation` is good, the key's stripe being locked.
    fn is_valid(&self, stripe: &Stripe, hash: u64, key: &str, generation: u64) -> bool {
        let Generation { present, written } = stripe.generations[generation_index(hash)];
        if present == generation {
            return true;
        }
        // What has passed since the lease are revocations by prefix, and nothing else.
        let prefixes_alone = written <= generation && generation < present;
        let count = present.wrapping_sub(generation);
        prefixes_alone && !self.listed.lock().revoke(key, stripe.passed, count)
    }

    /// Revokes the leases of the key and writes.
    pub(crate) fn revoke<R>(&self, hash: u64, write: impl FnOnce(&mut Hand) -> R) -> R {
        let mut stripe = self.stripe(hash).lock();
        stripe.generations[generation_index(hash)].bump();
        write(&mut stripe.hand)
    }

    /// Writes if a lease on `key` from `generation` is good.
    pub(crate) fn commit<R>(
        &self,
        hash: u64,
        key: &str,
        generation: u64,
        write: impl FnOnce(&mut Hand) -> R,
    ) -> Option<R> {
        let mut stripe = self.stripe(hash).lock();
        let valid = self.is_valid(&stripe, hash, key, generation);
        valid.then(|| write(&mut stripe.hand))
    }

    /// Revokes the leases of the key and writes, knowing whether one from `generation` was good.
    pub(crate) fn revoke_others<R>(
        &self,
        hash: u64,
        key: &str,
        generation: u64,
        write: impl FnOnce(bool, &mut Hand) -> R,
    ) -> R {
        let mut stripe = self.stripe(hash).lock();
        let valid = self.is_valid(&stripe, hash, key, generation);
        stripe.generations[generation_index(hash)].bump();
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
            stripe.generations.iter_mut().for_each(Generation::bump);
        }
    }

    /// Revokes the leases of the keys that begin with `prefix`, and of others only if more than
    /// [`LISTED`] prefixes are revoked while they last.
    pub(crate) fn revoke_prefix(&self, prefix: &str) {
        let _passing = self.passing.lock();
        let number = {
            let mut listed = self.listed.lock();
            if listed.prefixes.len() == LISTED {
                listed.prefixes.pop_front();
            }
            listed.prefixes.push_back(prefix.into());
            listed.newest += 1;
            listed.newest
        };
        for stripe in &self.stripes {
            let mut stripe = stripe.0.lock();
            stripe.generations.iter_mut().for_each(|generation| generation.present += 1);
            stripe.passed = number;
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
