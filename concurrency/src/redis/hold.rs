//! One grant: what is needed to prolong it and to give it back.

use std::sync::Arc;
use std::time::Duration;

use cache_core::{Clock, LockErrorKind, LockGuard, LockLease, LockOptions, Timestamp};
use parking_lot::Mutex;

use super::hand_over::Turn;
use super::names::Names;
use super::script::LONGEST;

/// What a caller asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) lease: Duration,
    pub(crate) max_hold: Duration,
    pub(crate) renew: bool,
}

impl Terms {
    pub(crate) fn of(options: &LockOptions) -> Self {
        let lease = options.lease_duration().min(LONGEST);
        Self { lease, max_hold: options.max_hold_duration(), renew: options.renews() }
    }
}

/// When a lease of this length, sent at `sent`, is over by our clock: before it is on the server,
/// whose clock may run 1 % faster and counts in milliseconds.
pub(crate) fn valid_until(sent: Timestamp, lease: Duration) -> Timestamp {
    sent + lease.saturating_sub(lease / 100 + Duration::from_millis(2))
}

/// A lock that this process holds, or held.
pub(crate) struct Hold {
    pub(crate) names: Arc<Names>,
    pub(crate) token: String,
    pub(crate) lease: LockLease,
    pub(crate) terms: Terms,
    pub(crate) hold_until: Timestamp,
    /// Keeps the others of this process waiting in line; given up when the lease ends.
    gate: Mutex<Option<LockGuard>>,
    /// Hears that it is its turn, which it knows from an answer: told to nobody, the lock would be
    /// given back.
    turn: Mutex<Option<Turn>>,
}

impl Hold {
    pub(crate) fn new(
        names: Arc<Names>,
        token: String,
        lease: LockLease,
        terms: Terms,
        hold_until: Timestamp,
        gate: LockGuard,
    ) -> Self {
        let (gate, turn) = (Mutex::new(Some(gate)), Mutex::default());
        Self { names, token, lease, terms, hold_until, gate, turn }
    }

    /// What its waiter was to hear may come yet, until it is given back.
    pub(crate) fn hears(&self, turn: Turn) {
        *self.turn.lock() = Some(turn);
    }

    /// To be kept until the lock is known to be given back.
    pub(crate) fn take_turn(&self) -> Option<Turn> {
        self.turn.lock().take()
    }

    /// What may let the next of this process in.
    pub(crate) fn take_gate(&self) -> Option<LockGuard> {
        self.gate.lock().take()
    }

    /// The lease is lost, if it is not over already; the next of this process may go on. True if
    /// it was not over.
    pub(crate) fn lose(&self) -> bool {
        let lost = self.lease.revoke(LockErrorKind::LeaseLost);
        drop((self.take_gate(), self.take_turn()));
        lost
    }

    /// How long a renewal sent now is for: one lease, or somewhat more than what is left of the
    /// longest hold, so that the lock is free soon after that. `None` if there is nothing left to
    /// renew.
    pub(crate) fn next_lease(&self, clock: &Clock) -> Option<(Timestamp, Duration)> {
        let now = clock.now();
        let left = now.until(self.hold_until);
        let end = self.lease.deadline()?;
        if !self.terms.renew || end >= self.hold_until {
            return None;
        }
        let rest = left.saturating_add(left / 50).saturating_add(Duration::from_millis(5));
        Some((now, self.terms.lease.min(rest)))
    }
}
