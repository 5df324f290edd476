//! What is behind the cache.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// A database of numbers that never holds the same number twice: each write makes a new one, so
/// that a value tells which write it is from. Clones are one database.
#[derive(Clone, Debug, Default)]
pub struct Database(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    last: u64,
    rows: HashMap<String, u64>,
}

impl Database {
    /// One in which every key has a row, the first time somebody asks.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The value of `key`.
    #[must_use]
    pub fn read(&self, key: &str) -> u64 {
        let mut state = self.0.lock();
        match state.rows.get(key) {
            Some(value) => *value,
            None => state.write(key),
        }
    }

    /// Gives `key` a new value.
    pub fn write(&self, key: &str) -> u64 {
        self.0.lock().write(key)
    }
}

impl State {
    fn write(&mut self, key: &str) -> u64 {
        self.last += 1;
        self.rows.insert(key.to_owned(), self.last);
        self.last
    }
}
