//! What went through.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, amount: usize) {
        self.0.fetch_add(amount as u64, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The proxy's counters.
#[derive(Debug, Default)]
pub(super) struct Counters {
    opened: Counter,
    closed: Counter,
    pub(super) to_server: Counter,
    pub(super) to_client: Counter,
    pub(super) round_trips: Counter,
}

impl Counters {
    pub(super) fn connections(&self) -> u64 {
        self.opened.get()
    }

    pub(super) fn open(&self) -> u64 {
        // In this order: the other one could make it less than nothing.
        let closed = self.closed.get();
        self.opened.get().saturating_sub(closed)
    }

    /// Counts a connection as open until the result is dropped.
    pub(super) fn opened(&self) -> Open<'_> {
        self.opened.add(1);
        Open(self)
    }
}

/// An open connection.
#[derive(Debug)]
pub(super) struct Open<'a>(&'a Counters);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.closed.add(1);
    }
}
