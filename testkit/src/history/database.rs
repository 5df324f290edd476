//! What is behind the cache.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// What stands in a history for "there is no such row": what a loader read, or a read-through was told.
pub const ABSENT: u64 = 0;

/// A database of numbers that never holds the same number twice: each write makes a new one, so
/// that a value tells which write it is from. Clones are one database.
#[derive(Clone, Debug, Default)]
pub struct Database(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    last: u64,
    rows: HashMap<String, Option<u64>>,
}

impl Database {
    /// One in which every key has a row, the first time somebody asks.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The value of `key`; one that was deleted has a new one.
    #[must_use]
    pub fn read(&self, key: &str) -> u64 {
        let mut state = self.0.lock();
        match state.rows.get(key) {
            Some(Some(value)) => *value,
            _ => state.write(key),
        }
    }

    /// The value of `key`, or [`ABSENT`] if it was deleted.
    ///
    /// ```
    /// use cache_testkit::history::{ABSENT, Database};
    ///
    /// let database = Database::new();
    /// assert_eq!(database.row("k"), database.read("k"));
    /// database.delete("k");
    /// assert_eq!(database.row("k"), ABSENT);
    /// ```
    #[must_use]
    pub fn row(&self, key: &str) -> u64 {
        let mut state = self.0.lock();
        match state.rows.get(key) {
            Some(row) => row.unwrap_or(ABSENT),
            None => state.write(key),
        }
    }

    /// Deletes the row of `key`.
    pub fn delete(&self, key: &str) {
        self.0.lock().rows.insert(key.to_owned(), None);
    }

    /// Gives `key` a new value.
    pub fn write(&self, key: &str) -> u64 {
        self.0.lock().write(key)
    }
}

impl State {
    fn write(&mut self, key: &str) -> u64 {
        self.last += 1;
        self.rows.insert(key.to_owned(), Some(self.last));
        self.last
    }
}
