//! Entries of a given size, and what a store really holds of them.

use cache_core::{CacheStore, Entry, Timestamp};
use cache_quick::QuickStore;

pub(crate) const MIB: u64 = 1024 * 1024;

pub(crate) fn key(id: u64) -> String {
    format!("k:{id}")
}

/// An entry that lives for ever, of so many bytes.
pub(crate) fn entry(bytes: usize) -> Entry {
    Entry::restore(Some(vec![b' '; bytes]), Timestamp::MAX, Timestamp::MAX)
}

/// What is really held, in entries and in bytes of key and value.
pub(crate) fn held(store: &QuickStore, keys: u64) -> (u64, u64) {
    let found = (0..keys).filter_map(|id| store.peek(&key(id)).map(|entry| (key(id), entry)));
    found.fold((0, 0), |(entries, bytes), (key, entry)| {
        let value = entry.bytes().map_or(0, <[u8]>::len);
        (entries + 1, bytes + (key.len() + value) as u64)
    })
}
