//! The engine's counters. Those that every hit touches are spread over cache lines by thread.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::{CacheStats, Entry, Selector, Timestamp};

/// More than the threads that commonly read at once; a power of two.
const STRIPES: usize = 16;

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
    /// One that found `found`, of which only a fresh entry is a hit at `now`.
    pub(crate) fn add(&mut self, found: Option<&Entry>, now: Timestamp) {
        match found {
            Some(entry) if entry.is_fresh(now) => {
                self.hits += 1;
                self.negative += u64::from(entry.is_absent());
            }
            _ => self.misses += 1,
        }
    }
}

/// The counters of one group of threads, alone on their cache lines.
#[derive(Default)]
#[repr(align(128))]
struct Hits {
    local: AtomicU64,
    remote: AtomicU64,
    negative: AtomicU64,
}

#[derive(Default)]
pub(crate) struct Counters {
    hits: [Hits; STRIPES],
    pub(crate) misses: AtomicU64,
    pub(crate) loads: AtomicU64,
    pub(crate) load_failures: AtomicU64,
    pub(crate) coalesced: AtomicU64,
    pub(crate) stale_served: AtomicU64,
    pub(crate) fills_refused: AtomicU64,
    invalidations: AtomicU64,
    pub(crate) errors: AtomicU64,
}

/// One more.
pub(crate) fn bump(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Counters {
    #[inline]
    pub(crate) fn hit(&self, entry: &Entry, source: Source) {
        // The remainder is in range; the compiler sees it.
        let hits = &self.hits[stripe() % STRIPES];
        bump(if source == Source::Local { &hits.local } else { &hits.remote });
        if entry.is_absent() {
            bump(&hits.negative);
        }
    }

    /// A hit on a value that was at hand.
    #[inline]
    pub(crate) fn value_hit(&self) {
        bump(&self.hits[stripe() % STRIPES].local);
    }

    /// What so many keys of one lookup were.
    pub(crate) fn looked_up(&self, Tally { hits, negative, misses }: Tally) {
        let add = |counter: &AtomicU64, count: u64| {
            if count > 0 {
                counter.fetch_add(count, Ordering::Relaxed);
            }
        };
        let stripe = &self.hits[stripe() % STRIPES];
        add(&stripe.remote, hits);
        add(&stripe.negative, negative);
        add(&self.misses, misses);
    }

    pub(crate) fn miss(&self, coalesced: bool) {
        bump(&self.misses);
        if coalesced {
            bump(&self.coalesced);
        }
    }

    pub(crate) fn invalidated(&self, what: &Selector) {
        let count = match what {
            Selector::Keys(keys) => keys.len() as u64,
            Selector::Prefix(_) | Selector::All => 1,
        };
        self.invalidations.fetch_add(count, Ordering::Relaxed);
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
            coalesced: load(&self.coalesced),
            stale_served: load(&self.stale_served),
            fills_refused: load(&self.fills_refused),
            invalidations: load(&self.invalidations),
            errors: load(&self.errors),
            ..CacheStats::default()
        }
    }
}

/// This thread's stripe: threads take them in turn.
#[inline]
fn stripe() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static STRIPE: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    STRIPE.with(|stripe| match stripe.get() {
        usize::MAX => {
            let mine = NEXT.fetch_add(1, Ordering::Relaxed);
            stripe.set(mine);
            mine
        }
        mine => mine,
    })
}
