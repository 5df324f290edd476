//! Whether the near tier may be served: for good while the bus is up, for a grace after it was
//! lost, else not.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cache_core::{Clock, Timestamp};

const FOR_GOOD: u64 = u64::MAX;

pub(crate) struct Trust {
    /// Microseconds on the clock.
    until: AtomicU64,
    clock: Clock,
}

impl Trust {
    /// Without a bus nobody else tells of removals, and none can be missed.
    pub(crate) fn new(clock: Clock, has_bus: bool) -> Self {
        Self { until: AtomicU64::new(if has_bus { 0 } else { FOR_GOOD }), clock }
    }

    /// Every near hit asks; while the bus is up that is one load.
    #[inline(always)]
    pub(crate) fn serves(&self) -> bool {
        let until = self.until.load(Ordering::Acquire);
        until == FOR_GOOD || self.serves_in_grace(until)
    }

    #[cold]
    fn serves_in_grace(&self, until: u64) -> bool {
        until != 0 && self.clock.is_before(Timestamp::from_micros(until))
    }

    pub(crate) fn is_up(&self) -> bool {
        self.until.load(Ordering::Acquire) == FOR_GOOD
    }

    /// The bus is up, and what was kept before is gone. True if it was not up before.
    pub(crate) fn gain(&self) -> bool {
        self.until.swap(FOR_GOOD, Ordering::AcqRel) != FOR_GOOD
    }

    /// What is held may be wrong: no grace, until it is gained anew.
    pub(crate) fn revoke(&self) {
        self.until.store(0, Ordering::Release);
    }

    /// The bus is lost. True if it was up before; a second loss does not prolong the grace.
    pub(crate) fn lose(&self, grace: Duration) -> bool {
        let until = match grace {
            Duration::ZERO => 0,
            grace => (self.clock.now() + grace).as_micros().min(FOR_GOOD - 1),
        };
        let up = Ordering::AcqRel;
        self.until.compare_exchange(FOR_GOOD, until, up, Ordering::Acquire).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cache_core::ManualClock;

    #[test]
    fn lost_it_serves_for_its_grace_and_no_longer() {
        let clock = ManualClock::at(Timestamp::from_micros(1_000_000));
        let trust = Trust::new(clock.clock(), true);
        assert!(!trust.serves());
        assert!(trust.gain() && trust.serves());
        assert!(trust.lose(Duration::from_secs(2)) && trust.serves());
        clock.advance(Duration::from_secs(1));
        assert!(!trust.lose(Duration::from_secs(2)), "lost already");
        clock.advance(Duration::from_secs(1));
        assert!(!trust.serves());
        assert!(trust.gain() && trust.lose(Duration::ZERO) && !trust.serves());
        assert!(trust.gain() && trust.lose(Duration::from_secs(2)) && trust.serves());
        trust.revoke();
        assert!(!trust.serves(), "in its grace");
    }
}
