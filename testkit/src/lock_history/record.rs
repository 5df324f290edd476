//! What a history of locks is made of, and writing it down while it happens.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::history::Stamp;

/// One grant of a lock, as far as its client knows of it; see the [module](super), also for an
/// example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Who had it.
    pub client: usize,
    /// Which lock.
    pub key: String,
    /// Its fencing token.
    pub fence: u64,
    /// Before it was asked for.
    pub asked: Stamp,
    /// After it was got.
    pub granted: Stamp,
    /// The last stamp that was taken before the lease was found to run; `None` if it never was.
    pub valid: Option<Stamp>,
}

/// One use of a resource under a lock.
///
/// ```
/// use cache_testkit::lock_history::{Access, Exclusion, LockHistory, LockViolation, check_locks};
///
/// let access = |fence, began| {
///     Access { client: 0, key: "k".into(), fence, began, ended: began + 1, accepted: true }
/// };
/// let history = LockHistory { holds: vec![], accesses: vec![access(8, 0), access(7, 2)] };
/// let violation = check_locks(&history, Exclusion::Excused).unwrap_err();
/// assert!(matches!(*violation, LockViolation::LowerFenceAccepted { .. }));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// By whom.
    pub client: usize,
    /// Under which lock.
    pub key: String,
    /// Under which fencing token.
    pub fence: u64,
    /// Before it began.
    pub began: Stamp,
    /// After it ended.
    pub ended: Stamp,
    /// Whether the resource did it.
    pub accepted: bool,
}

/// All that was recorded, in any order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LockHistory {
    /// The grants.
    pub holds: Vec<Hold>,
    /// What was done under them.
    pub accesses: Vec<Access>,
}

/// Takes records from any thread. Clones write one history.
///
/// ```
/// use cache_testkit::lock_history::LockRecorder;
///
/// let recorder = LockRecorder::new();
/// assert!(recorder.stamp() < recorder.clone().stamp());
/// assert!(recorder.history().holds.is_empty());
/// ```
#[derive(Clone, Debug, Default)]
pub struct LockRecorder(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    stamps: AtomicU64,
    history: Mutex<LockHistory>,
}

impl LockRecorder {
    /// One that has recorded nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The next stamp.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        self.0.stamps.fetch_add(1, Ordering::SeqCst)
    }

    /// Adds a grant.
    pub fn hold(&self, hold: Hold) {
        self.0.history.lock().holds.push(hold);
    }

    /// Adds a use of a resource.
    pub fn access(&self, access: Access) {
        self.0.history.lock().accesses.push(access);
    }

    /// What has been recorded so far. Of a lock that is held it has nothing yet.
    #[must_use]
    pub fn history(&self) -> LockHistory {
        self.0.history.lock().clone()
    }
}
