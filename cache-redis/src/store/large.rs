//! Which keys have large values: they are read apart, so that small ones do not wait behind them.
//!
//! How large a value is shows when it is read or written. A key whose value was large then goes over
//! the connection for large ones the next time, and in no batch. It is a guess: wrong, it costs a
//! detour or a wait, never an answer.
//!
//! A value that takes longer than the budget is never read, and whoever is behind it neither. So when
//! reads had no answer in time, the server is asked how large their values are.
//!
//! Rules:
//!
//! 1. One task at a time asks, for some keys: a server that hangs is asked no more than that. If it goes
//!    before its end, with its runtime, another may ask.
//! 2. It asks over a connection that carries no values.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use redis::{Pipeline, Value};

use super::{BULK_BYTES, CHUNK};
use crate::connection::{Call, Connections, Lane};
use crate::key::{Keyspace, chunks};

/// Keys that are remembered at most; a newer one takes the place of an older.
const PLACES: usize = 1024;
/// Keys that may wait for being asked for.
const UNREAD: usize = 512;

#[derive(Debug)]
pub(super) struct LargeValues {
    /// Whether there ever was one: most caches have none, and their reads look no further.
    any: AtomicBool,
    places: Box<[AtomicU64]>,
    unread: Mutex<Unread>,
}

/// What was not read in time.
#[derive(Debug, Default)]
struct Unread {
    keys: HashSet<String>,
    /// Whether a task asks.
    asked: bool,
}

impl Default for LargeValues {
    fn default() -> Self {
        let places = (0..PLACES).map(|_| AtomicU64::new(0)).collect();
        Self { any: AtomicBool::new(false), places, unread: Mutex::default() }
    }
}

impl LargeValues {
    /// Whether the key's value was large when it was read or written last.
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

    /// The values of `unread` did not come in time: asks how large they are, meanwhile.
    #[cold]
    pub(super) fn ask<'k>(
        self: &Arc<Self>,
        connections: &Connections,
        keys: &Keyspace,
        unread: impl Iterator<Item = &'k str>,
    ) {
        // Known already: it is not for want of knowing that they are late.
        let unread = unread.filter(|key| !self.has(key));
        let begin = {
            let mut waiting = self.unread.lock();
            let room = UNREAD.saturating_sub(waiting.keys.len());
            waiting.keys.extend(unread.take(room).map(str::to_owned));
            !waiting.keys.is_empty() && !std::mem::replace(&mut waiting.asked, true)
        };
        if begin {
            // It ends by itself, when nothing waits and its calls are over, which their budget
            // bounds.
            let learn = Asking { large: Arc::clone(self), over: false }
                .learn(connections.clone(), keys.clone());
            drop(connections.runtime().spawn(learn));
        }
    }

    fn next(&self) -> Option<Vec<String>> {
        let mut waiting = self.unread.lock();
        waiting.asked = !waiting.keys.is_empty();
        waiting.asked.then(|| waiting.keys.drain().collect())
    }

    /// Where a key stands, and what stands there for it: never 0.
    fn place(&self, key: &str) -> (&AtomicU64, u64) {
        let hash = crc32fast::hash(key.as_bytes());
        // Keys are not empty.
        let mark = u64::from(hash) << 32 | key.len() as u64;
        (&self.places[hash as usize % PLACES], mark)
    }
}

/// The right to ask.
struct Asking {
    large: Arc<LargeValues>,
    /// Given back already: another may have it.
    over: bool,
}

impl Drop for Asking {
    fn drop(&mut self) {
        if !self.over {
            self.large.unread.lock().asked = false;
        }
    }
}

impl Asking {
    async fn learn(mut self, connections: Connections, keys: Keyspace) {
        while let Some(unread) = self.large.next() {
            let name = |at: usize| keys.key(&unread[at]);
            for chunk in chunks(unread.len(), CHUNK, connections.is_cluster(), name) {
                let mut pipeline = Pipeline::with_capacity(chunk.len());
                for &at in &chunk {
                    pipeline.cmd("STRLEN").arg(name(at));
                }
                let Ok(sizes) = connections.pipeline(Call::new(Lane::Scan), &pipeline).await else {
                    // Whoever reads them next in vain asks again.
                    break;
                };
                for (at, size) in chunk.into_iter().zip(sizes) {
                    // Not for a list or a hash, nor for a user who may not ask.
                    if let Value::Int(bytes) = size {
                        self.large.saw(&unread[at], usize::try_from(bytes).unwrap_or(0));
                    }
                }
            }
        }
        self.over = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_and_goes_leaves_it_to_another() {
        let large = Arc::new(LargeValues::default());
        let asking = || Asking { large: Arc::clone(&large), over: false };
        large.unread.lock().asked = true;
        drop(asking());
        assert!(!large.unread.lock().asked);
        // One that has come to its end takes nothing from the next.
        large.unread.lock().asked = true;
        drop(Asking { large: Arc::clone(&large), over: true });
        assert!(large.unread.lock().asked);
    }

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
