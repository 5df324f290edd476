//! Of which locks Redis has said that they are held: what may be told to who waits at the gate behind
//! another task of this process.
//!
//! Rules:
//! 1. Who comes to its time's end at the gate has asked Redis nothing. It is told that others have the lock
//!    if the one in front was told so, or has it, and otherwise if Redis has answered anybody meanwhile.
//! 2. A wait that is short beside the time that an answer has says nothing about Redis.

use std::collections::HashSet;
use std::sync::Arc;

use cache_core::{LockError, LockErrorKind, Timestamp};
use parking_lot::Mutex;

use super::inner::Inner;

/// Keys of which an answer is there; of each key one task has passed the gate.
#[derive(Default)]
pub(crate) struct KnownKeys(Mutex<HashSet<Arc<str>>>);

/// What is known to who has passed the gate; forgotten when it is dropped.
pub(crate) struct Known<'a> {
    keys: &'a KnownKeys,
    key: &'a Arc<str>,
    is: bool,
}

impl KnownKeys {
    pub(crate) fn of<'a>(&'a self, key: &'a Arc<str>) -> Known<'a> {
        Known { keys: self, key, is: false }
    }
}

impl Known<'_> {
    pub(crate) fn set(&mut self, is: bool) {
        if self.is != is {
            self.is = is;
            let mut keys = self.keys.0.lock();
            if is {
                keys.insert(Arc::clone(self.key));
            } else {
                keys.remove(self.key);
            }
        }
    }
}

impl Drop for Known<'_> {
    fn drop(&mut self) {
        self.set(false);
    }
}

impl Inner {
    /// What is told to who came to the gate of this lock then, and whose time is over.
    pub(crate) fn at_the_gate(&self, key: &str, begun: Timestamp, error: LockError) -> LockError {
        let waited = begun.until(self.clock.now());
        if error.kind() != LockErrorKind::Timeout
            || waited < self.redis.usual_budget() / 2
            || self.redis.has_answered_since(begun)
            || self.known.0.lock().contains(key)
            // Last, as it looks at every lock that is held.
            || self.holds.has(key)
        {
            return error;
        }
        let message = "Redis does not answer who asks for the lock in front";
        LockError::new(LockErrorKind::Unavailable, message)
    }
}
