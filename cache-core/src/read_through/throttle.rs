//! Which keys had a refresh fail lately: a fixed table, so that it needs no cleaning.
//!
//! A slot holds the last key to fail in it, as 18 bits of its hash, and until when. Another key
//! may overwrite it: then a refresh is tried early, which is harmless.

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use foldhash::quality::RandomState;

use crate::Timestamp;

const SLOTS: usize = 1024;
/// Bits of a slot that hold milliseconds since the epoch: enough until the year 4199.
const TIME_BITS: u32 = 46;
const TIME_MASK: u64 = (1 << TIME_BITS) - 1;

pub(crate) struct Throttle {
    slots: Box<[AtomicU64]>,
    hasher: RandomState,
}

impl Throttle {
    pub(crate) fn new() -> Self {
        let slots = (0..SLOTS).map(|_| AtomicU64::new(0)).collect();
        Self { slots, hasher: RandomState::default() }
    }

    /// The key's slot, and what tells the key in it.
    fn place(&self, key: &str) -> (&AtomicU64, u64) {
        let hash = self.hasher.hash_one(key);
        (&self.slots[hash as usize % SLOTS], hash & !TIME_MASK)
    }

    /// Keeps refreshes of `key` off for `backoff`.
    pub(crate) fn hold(&self, key: &str, now: Timestamp, backoff: Duration) {
        let (slot, tag) = self.place(key);
        slot.store(tag | (millis(now + backoff) & TIME_MASK), Ordering::Relaxed);
    }

    /// Whether a refresh of `key` should wait.
    pub(crate) fn holds(&self, key: &str, now: Timestamp) -> bool {
        let (slot, tag) = self.place(key);
        let held = slot.load(Ordering::Relaxed);
        held & !TIME_MASK == tag && millis(now) < held & TIME_MASK
    }

    /// Forgets a failure of `key`.
    pub(crate) fn release(&self, key: &str) {
        let (slot, tag) = self.place(key);
        let held = slot.load(Ordering::Relaxed);
        if held != 0 && held & !TIME_MASK == tag {
            slot.store(0, Ordering::Relaxed);
        }
    }
}

fn millis(time: Timestamp) -> u64 {
    time.as_micros() / 1_000
}
