//! The engine's counters. Those that every hit touches are each thread's own.

use std::sync::atomic::{AtomicU64, Ordering};

use super::seat::{OWN, SEATS, seat};
use crate::{CacheError, CacheStats, Entry, Selector};

/// Where an answer came from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    Local,
    Remote,
}

/// Answers of a remote tier, to be counted at once.
#[derive(Clone, Copy, Default)]
pub(crate) struct Tally {
    hits: u64,
    /// Of the hits, those that said "absent".
    negative: u64,
    misses: u64,
}

impl Tally {
    /// One that found `found`, of which only a fresh entry is a hit.
    pub(crate) fn add(&mut self, found: Option<&Entry>, is_fresh: impl FnOnce(&Entry) -> bool) {
        match found {
            Some(entry) if is_fresh(entry) => {
                self.hits += 1;
                self.negative += u64::from(entry.is_absent());
            }
            _ => self.misses += 1,
        }
    }
}

/// The counters of one seat, alone on their cache lines.
#[derive(Default)]
#[repr(align(128))]
struct Hits {
    local: AtomicU64,
    remote: AtomicU64,
    negative: AtomicU64,
}

pub(crate) struct Counters {
    hits: [Hits; SEATS],
    pub(crate) misses: AtomicU64,
    pub(crate) loads: AtomicU64,
    pub(crate) load_failures: AtomicU64,
    pub(crate) loaded: AtomicU64,
    pub(crate) coalesced: AtomicU64,
    pub(crate) stale_served: AtomicU64,
    pub(crate) fills_refused: AtomicU64,
    invalidations: AtomicU64,
    pub(crate) errors: AtomicU64,
    pub(crate) failed_lookups: AtomicU64,
    pub(crate) writes: Outcomes,
    pub(crate) removals: Outcomes,
}

/// How operations ended.
#[derive(Default)]
pub(crate) struct Outcomes {
    done: AtomicU64,
    failed: AtomicU64,
}

impl Outcomes {
    /// So many have ended like this.
    pub(crate) fn count<T>(&self, operations: u64, outcome: &Result<T, CacheError>) {
        let counter = if outcome.is_ok() { &self.done } else { &self.failed };
        counter.fetch_add(operations, Ordering::Relaxed);
    }
}

/// The counters that this thread counts hits in.
struct Mine<'a> {
    hits: &'a Hits,
    /// Nobody else does: a load and a store will do, at a fifth of the cost.
    alone: bool,
}

#[inline]
fn add(counter: &AtomicU64, count: u64, alone: bool) {
    if alone {
        counter.store(counter.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
    } else {
        counter.fetch_add(count, Ordering::Relaxed);
    }
}

/// One more.
pub(crate) fn bump(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            hits: std::array::from_fn(|_| Hits::default()),
            misses: AtomicU64::default(),
            loads: AtomicU64::default(),
            load_failures: AtomicU64::default(),
            loaded: AtomicU64::default(),
            coalesced: AtomicU64::default(),
            stale_served: AtomicU64::default(),
            fills_refused: AtomicU64::default(),
            invalidations: AtomicU64::default(),
            errors: AtomicU64::default(),
            failed_lookups: AtomicU64::default(),
            writes: Outcomes::default(),
            removals: Outcomes::default(),
        }
    }
}

impl Counters {
    #[inline]
    pub(crate) fn hit(&self, entry: &Entry, source: Source) {
        let Mine { hits, alone } = self.mine();
        add(if source == Source::Local { &hits.local } else { &hits.remote }, 1, alone);
        if entry.is_absent() {
            add(&hits.negative, 1, alone);
        }
    }

    /// A hit on a value that was at hand.
    #[inline]
    pub(crate) fn value_hit(&self) {
        let Mine { hits, alone } = self.mine();
        add(&hits.local, 1, alone);
    }

    /// What so many keys of one lookup were.
    pub(crate) fn looked_up(&self, Tally { hits, negative, misses }: Tally) {
        let mine = self.mine();
        add(&mine.hits.remote, hits, mine.alone);
        add(&mine.hits.negative, negative, mine.alone);
        if misses > 0 {
            add(&self.misses, misses, false);
        }
    }

    #[inline]
    fn mine(&self) -> Mine<'_> {
        let seat = seat();
        // In range; the compiler sees it.
        Mine { hits: &self.hits[seat % SEATS], alone: seat < OWN }
    }

    pub(crate) fn miss(&self, coalesced: bool) {
        bump(&self.misses);
        if coalesced {
            bump(&self.coalesced);
        }
    }

    /// A removal that is asked for: as how many it counts.
    pub(crate) fn invalidated(&self, what: &Selector) -> u64 {
        let count = match what {
            Selector::Keys(keys) => keys.len() as u64,
            Selector::Prefix(_) | Selector::All => 1,
        };
        self.invalidations.fetch_add(count, Ordering::Relaxed);
        count
    }

    pub(crate) fn snapshot(&self) -> CacheStats {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let sum = |pick: fn(&Hits) -> &AtomicU64| self.hits.iter().map(pick).map(load).sum();
        CacheStats {
            local_hits: sum(|hits| &hits.local),
            remote_hits: sum(|hits| &hits.remote),
            negative_hits: sum(|hits| &hits.negative),
            misses: load(&self.misses),
            loads: load(&self.loads),
            load_failures: load(&self.load_failures),
            loaded: load(&self.loaded),
            coalesced: load(&self.coalesced),
            stale_served: load(&self.stale_served),
            fills_refused: load(&self.fills_refused),
            invalidations: load(&self.invalidations),
            errors: load(&self.errors),
            failed_lookups: load(&self.failed_lookups),
            writes: load(&self.writes.done),
            failed_writes: load(&self.writes.failed),
            removals: load(&self.removals.done),
            failed_removals: load(&self.removals.failed),
            ..CacheStats::default()
        }
    }
}
