//! How a lock is asked for: lease, wait, renewal, longest hold.

use std::time::Duration;

use super::error::{LockError, LockErrorKind};

/// The shortest lease and hold: below it, scheduling alone would lose locks.
const SHORTEST: Duration = Duration::from_millis(10);
/// Unless set, a lock may be held for this many leases.
const DEFAULT_HOLD_LEASES: u32 = 10;

/// How a lock is asked for. Setters chain; durations that are too long for the clock saturate.
///
/// ```
/// use cache_core::LockOptions;
/// use std::time::Duration;
///
/// let options = LockOptions::default().lease(Duration::from_secs(5)).wait(Duration::ZERO);
/// assert_eq!(options.max_hold_duration(), Duration::from_secs(50));
/// assert!(options.validate().is_ok());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockOptions {
    lease: Duration,
    wait: Duration,
    renew: bool,
    max_hold: Option<Duration>,
}

impl LockOptions {
    /// How long the lock outlives a holder that died or was cut off; 30 s, at least 10 ms.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// How long to wait for it; 10 s. Zero tries once.
    #[must_use]
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// Whether a live holder's lease is prolonged until [`max_hold`](Self::max_hold); on.
    /// Without it the lock ends with its first lease.
    #[must_use]
    pub fn renew(mut self, renew: bool) -> Self {
        self.renew = renew;
        self
    }

    /// The longest time the lock may be held, renewals included; 10 leases, at least 10 ms. Shorter than
    /// the lease, it is the lease as well.
    #[must_use]
    pub fn max_hold(mut self, max_hold: Duration) -> Self {
        self.max_hold = Some(max_hold);
        self
    }

    /// The lease: as set, or the longest hold if that is shorter.
    ///
    /// ```
    /// use cache_core::LockOptions;
    /// use std::time::Duration;
    ///
    /// let second = Duration::from_secs(1);
    /// assert_eq!(LockOptions::default().max_hold(second).lease_duration(), second);
    /// ```
    #[must_use]
    pub fn lease_duration(&self) -> Duration {
        self.max_hold.map_or(self.lease, |max_hold| self.lease.min(max_hold))
    }

    /// How long a caller waits.
    #[must_use]
    pub fn wait_duration(&self) -> Duration {
        self.wait
    }

    /// Whether the lease is renewed.
    #[must_use]
    pub fn renews(&self) -> bool {
        self.renew
    }

    /// The longest hold: as set, or ten leases.
    #[must_use]
    pub fn max_hold_duration(&self) -> Duration {
        self.max_hold.unwrap_or_else(|| self.lease.saturating_mul(DEFAULT_HOLD_LEASES))
    }

    /// Checks the ranges. Backends call it before anything else.
    ///
    /// # Errors
    ///
    /// [`LockErrorKind::Config`] naming the option, its value and what would be right.
    ///
    /// ```
    /// use cache_core::LockOptions;
    /// use std::time::Duration;
    ///
    /// let error = LockOptions::default().lease(Duration::ZERO).validate().unwrap_err();
    /// assert_eq!(error.to_string(), "configuration: lease is 0ns; it must be at least 10ms");
    /// ```
    pub fn validate(&self) -> Result<(), LockError> {
        for (option, value) in [("lease", Some(self.lease)), ("max_hold", self.max_hold)] {
            if let Some(value) = value.filter(|value| *value < SHORTEST) {
                let message = format!("{option} is {value:?}; it must be at least {SHORTEST:?}");
                return Err(LockError::new(LockErrorKind::Config, message));
            }
        }
        Ok(())
    }
}

impl Default for LockOptions {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(30),
            wait: Duration::from_secs(10),
            renew: true,
            max_hold: None,
        }
    }
}
