//! The cell in which a backend says how long a lock is held.
//!
//! Rules:
//! 1. One word holds the state: the deadline while the lease runs, an end code afterwards.
//! 2. It ends once. Whoever first sees the deadline passed writes the end code, so an `extend`
//!    that comes late cannot revive a lease that someone was told is over.
//! 3. The deadline only moves away. A timer armed for an old deadline fires early, looks again
//!    and is armed anew, so nobody has to be told about an extension.
//! 4. Ends that come before the deadline (revoked, released) wake everyone in `ended`. Most leases
//!    end with nobody there, so whoever waits says so first, and looks at the state after that;
//!    whoever ends it looks for waiters after the end. One of the two sees the other, because all
//!    four steps are sequentially consistent.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicBool, AtomicU64,
    Ordering::{AcqRel, Acquire, SeqCst},
};
use std::time::Duration;

use smol_str::SmolStr;
use tokio::sync::Notify;

use super::error::{LockError, LockErrorKind};
use super::info::FencingToken;
use crate::{Clock, Timestamp};

// End codes; a deadline is always above them.
const LOST: u64 = 0;
const HELD_TOO_LONG: u64 = 1;
const RELEASED: u64 = 2;
const FIRST_DEADLINE: u64 = 3;

/// How long one holder has a lock: made by a backend with each grant, read by the holder's
/// [`LockGuard`](crate::LockGuard) and [`HeldLock`](crate::HeldLock). Clones are one lease.
///
/// It ends by itself at the earlier of its two deadlines, or when the backend
/// [revokes](Self::revoke) it, or with the lock's release; and it ends once.
///
/// ```
/// use cache_core::{FencingToken, LockErrorKind, LockLease, ManualClock};
/// use std::time::Duration;
///
/// let clock = ManualClock::new();
/// let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
/// let lease = LockLease::new(
///     "user:7".into(), FencingToken(1), &clock.clock(), clock.now() + second, clock.now() + minute);
/// assert!(lease.extend(clock.now() + 2 * second));
/// clock.advance(second);
/// assert!(lease.check().is_ok());
/// clock.advance(second);
/// assert_eq!(lease.check().unwrap_err().kind(), LockErrorKind::LeaseLost);
/// assert!(!lease.extend(clock.now() + second), "it ends once");
/// ```
#[derive(Clone)]
pub struct LockLease(Arc<Cell>);

struct Cell {
    /// In place if it is short, as most are.
    key: SmolStr,
    token: FencingToken,
    clock: Clock,
    hold_until: Timestamp,
    /// What `remaining` reports at most.
    span: Duration,
    /// See rule 1.
    state: AtomicU64,
    /// Whether anybody has waited for the end: see rule 4.
    awaited: AtomicBool,
    ended: Notify,
}

impl LockLease {
    /// A lease on `key` that runs until `valid_until` by `clock` and can be extended up to
    /// `hold_until`.
    #[must_use]
    pub fn new(
        key: Arc<str>,
        token: FencingToken,
        clock: &Clock,
        valid_until: Timestamp,
        hold_until: Timestamp,
    ) -> Self {
        Self::of(key.into(), token, clock, valid_until, hold_until, Duration::MAX)
    }

    /// The same for a backend that has nobody to send renewals to, and so grants all of a
    /// renewed lock's time at once: [`remaining`](Self::remaining) never reports more than
    /// `span`, one lease.
    #[must_use]
    pub fn with_span(
        key: &str,
        token: FencingToken,
        clock: &Clock,
        valid_until: Timestamp,
        hold_until: Timestamp,
        span: Duration,
    ) -> Self {
        Self::of(key.into(), token, clock, valid_until, hold_until, span)
    }

    fn of(
        key: SmolStr,
        token: FencingToken,
        clock: &Clock,
        valid_until: Timestamp,
        hold_until: Timestamp,
        span: Duration,
    ) -> Self {
        let state = AtomicU64::new(word(valid_until.min(hold_until)));
        let clock = clock.clone();
        let (awaited, ended) = (AtomicBool::new(false), Notify::new());
        Self(Arc::new(Cell { key, token, clock, hold_until, span, state, awaited, ended }))
    }

    /// The lock's key.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.0.key
    }

    /// The key, to be kept.
    pub(super) fn name(&self) -> SmolStr {
        self.0.key.clone()
    }

    /// The grant's fencing token.
    #[must_use]
    pub fn fencing_token(&self) -> FencingToken {
        self.0.token
    }

    /// When it ends unless it is extended; `None` once it has ended.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        self.state().ok()
    }

    /// How long it still runs unless it is extended; zero once it has ended.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.deadline().map_or(Duration::ZERO, |end| self.0.clock.now().until(end).min(self.0.span))
    }

    /// Moves its end away to `valid_until`, though not past the longest hold; an earlier time
    /// than it has is ignored. False if it is over already.
    pub fn extend(&self, valid_until: Timestamp) -> bool {
        let until = word(valid_until.min(self.0.hold_until));
        while let Ok(end) = self.state() {
            let (old, new) = (word(end), word(end).max(until));
            if self.0.state.compare_exchange(old, new, AcqRel, Acquire).is_ok() {
                return true;
            }
        }
        false
    }

    /// Ends it now: as [`MaxHoldExceeded`](LockErrorKind::MaxHoldExceeded) if that is `kind`, as
    /// [`LeaseLost`](LockErrorKind::LeaseLost) otherwise. False if it was over already.
    pub fn revoke(&self, kind: LockErrorKind) -> bool {
        let code = if kind == LockErrorKind::MaxHoldExceeded { HELD_TOO_LONG } else { LOST };
        self.end(code).is_ok()
    }

    /// Whether it was over before the lock was given back: it ran out, was taken away, or the lock
    /// was held for `max_hold`. What a backend asks when it counts leases that were lost.
    #[must_use]
    pub fn ended_early(&self) -> bool {
        match self.0.state.load(Acquire) {
            RELEASED => false,
            LOST | HELD_TOO_LONG => true,
            deadline => !self.0.clock.is_before(Timestamp::from_micros(deadline)),
        }
    }

    /// Ends it in good order.
    pub(super) fn finish(&self) -> Result<(), LockError> {
        self.end(RELEASED)
    }

    /// Whether it still runs. Cheap: an atomic load and, as long as its end is more than a
    /// second away, the coarse clock.
    ///
    /// # Errors
    ///
    /// [`LeaseLost`](LockErrorKind::LeaseLost) or
    /// [`MaxHoldExceeded`](LockErrorKind::MaxHoldExceeded) once it is over.
    pub fn check(&self) -> Result<(), LockError> {
        self.state().map(drop)
    }

    /// Waits for its end, whichever way it ends, and says which.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves nothing behind.
    pub async fn ended(&self) -> LockError {
        loop {
            let mut ended = pin!(self.0.ended.notified());
            // Listen first, then look: an end between the two is not missed.
            ended.as_mut().enable();
            self.0.awaited.store(true, SeqCst);
            let deadline = match self.state() {
                Ok(deadline) => deadline,
                Err(error) => return error,
            };
            tokio::select! {
                biased;
                () = ended => {}
                () = self.0.clock.sleep_until(deadline) => {}
            }
        }
    }

    fn end(&self, code: u64) -> Result<(), LockError> {
        loop {
            let end = word(self.state()?);
            if self.0.state.compare_exchange(end, code, SeqCst, Acquire).is_ok() {
                if self.0.awaited.load(SeqCst) {
                    self.0.ended.notify_waiters();
                }
                return Ok(());
            }
        }
    }

    /// The deadline, or why there is none; writes the end code if it finds it passed (rule 2).
    fn state(&self) -> Result<Timestamp, LockError> {
        // Not only `Acquire`: rule 4.
        let mut state = self.0.state.load(SeqCst);
        while state >= FIRST_DEADLINE {
            let deadline = Timestamp::from_micros(state);
            if self.0.clock.is_before(deadline) {
                return Ok(deadline);
            }
            let code = if deadline >= self.0.hold_until { HELD_TOO_LONG } else { LOST };
            match self.0.state.compare_exchange(state, code, AcqRel, Acquire) {
                Ok(_) => state = code,
                Err(now) => state = now,
            }
        }
        Err(self.over(state))
    }

    fn over(&self, code: u64) -> LockError {
        let (kind, message) = match code {
            HELD_TOO_LONG => (LockErrorKind::MaxHoldExceeded, "the lock was held for max_hold"),
            RELEASED => (LockErrorKind::LeaseLost, "the lock has been released"),
            _ => (LockErrorKind::LeaseLost, "the lease ran out or was taken away"),
        };
        LockError::new(kind, message).with_key(self.key())
    }
}

impl fmt::Debug for LockLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockLease")
            .field("key", &self.key())
            .field("fencing_token", &self.0.token.0)
            .field("remaining", &self.remaining())
            .finish()
    }
}

fn word(deadline: Timestamp) -> u64 {
    deadline.as_micros().max(FIRST_DEADLINE)
}
