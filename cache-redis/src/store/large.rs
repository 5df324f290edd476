//! Which keys have large values: they are read apart, so that small ones do not wait behind them.
//!
//! How large a value is shows when it is read. A key whose value was large then goes over the
//! connection for large ones the next time, and in no batch. It is a guess: wrong, it costs a detour
//! or a wait, never an answer.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::BULK_BYTES;

/// Keys that are remembered at most; a newer one takes the place of an older.
const PLACES: usize = 1024;

#[derive(Debug)]
pub(super) struct LargeValues {
    /// Whether there ever was one: most caches have none, and their reads look no further.
    any: AtomicBool,
    places: Box<[AtomicU64]>,
}

impl Default for LargeValues {
    fn default() -> Self {
        let places = (0..PLACES).map(|_| AtomicU64::new(0)).collect();
        Self { any: AtomicBool::new(false), places }
    }
}

impl LargeValues {
    /// Whether the key's value was large when it was read last.
    pub(super) fn has(&self, key: &str) -> bool {
        self.any.load(Ordering::Relaxed) && {
            let (place, mark) = self.place(key);
            place.load(Ordering::Relaxed) == mark
        }
    }

    /// The key's value has so many bytes.
    pub(super) fn saw(&self, key: &str, bytes: usize) {
        if bytes > BULK_BYTES {
            let (place, mark) = self.place(key);
            place.store(mark, Ordering::Relaxed);
            self.any.store(true, Ordering::Relaxed);
        } else if self.has(key) {
            self.place(key).0.store(0, Ordering::Relaxed);
        }
    }

    /// Where a key stands, and what stands there for it: never 0.
    fn place(&self, key: &str) -> (&AtomicU64, u64) {
        let hash = crc32fast::hash(key.as_bytes());
        // Keys are not empty.
        let mark = u64::from(hash) << 32 | key.len() as u64;
        (&self.places[hash as usize % PLACES], mark)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_read_counts() {
        let large = LargeValues::default();
        assert!(!large.has("k"));
        large.saw("k", BULK_BYTES);
        assert!(!large.has("k"));
        large.saw("k", BULK_BYTES + 1);
        assert!(large.has("k") && !large.has("kk"));
        large.saw("other", 10);
        assert!(large.has("k"));
        large.saw("k", BULK_BYTES);
        assert!(!large.has("k"));
    }
}
