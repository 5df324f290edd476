//! What can be known about a lock from outside: its fencing token and who holds it.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A number that grows with every grant of a lock.
///
/// Send it along with each write that the lock protects and let the resource refuse a lower one
/// than it has seen: then a holder that was paused past its lease cannot do harm, which no lock
/// can prevent by itself.
///
/// ```
/// use cache_core::FencingToken;
///
/// let (first, second) = (FencingToken(41), FencingToken(42));
/// assert!(first < second);
/// assert_eq!(u64::from(second), 42);
/// assert_eq!(second.to_string(), "42");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FencingToken(pub u64);

impl From<FencingToken> for u64 {
    fn from(token: FencingToken) -> Self {
        token.0
    }
}

impl fmt::Display for FencingToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Who holds a lock, since when, and how many wait: a snapshot, already old when it is read.
///
/// ```
/// use cache_core::{FencingToken, LockInfo};
///
/// let mut info = LockInfo::new("user:7", "pid 12", FencingToken(3));
/// info.waiters = 2;
/// assert_eq!(info.holder, "pid 12");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LockInfo {
    /// The lock's key.
    pub key: String,
    /// Who holds it, in words for people: a process, a host, a task.
    pub holder: String,
    /// The holder's token: what [`force_release`](crate::ConcurrencyService::force_release) asks for.
    pub fencing_token: FencingToken,
    /// How long the present lease still runs; with renewal it will be prolonged.
    pub remaining: Duration,
    /// How long the holder has had it.
    pub held_for: Duration,
    /// How many wait for it.
    pub waiters: usize,
}

impl LockInfo {
    /// A lock that was taken just now and has no waiters; the other fields are there to be set.
    #[must_use]
    pub fn new(key: impl Into<String>, holder: impl Into<String>, token: FencingToken) -> Self {
        Self {
            key: key.into(),
            holder: holder.into(),
            fencing_token: token,
            remaining: Duration::ZERO,
            held_for: Duration::ZERO,
            waiters: 0,
        }
    }
}
