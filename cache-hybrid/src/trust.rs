//! Whether the near tier may be served: while the bus is up, for a grace after it was lost, else
//! not.
//!
//! Two have to agree: what was heard of the bus, and the time until which the bus is known to be up.
//! The first alone would be an event, and nobody handles events in a process that is frozen or
//! whose runtime is gone. A bus that gives no such time is taken at its word.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cache_core::{BusDeadline, Clock, Timestamp};

/// While the bus is lost: how long a load may be joined that began meanwhile. Less than it takes to
/// notice a loss, unless heartbeats are set to be quick.
const JOINED: Duration = Duration::from_secs(1);
/// By the cheap clock a deadline passes so much later, at most.
const COARSE: Duration = Duration::from_millis(10);
/// Until it is said to be lost.
const UP: u64 = u64::MAX;

pub(crate) struct Trust {
    /// Microseconds on the clock.
    until: AtomicU64,
    clock: Clock,
    /// Until when the bus is known to be up.
    proven: BusDeadline,
    grace: Duration,
}

impl Trust {
    /// Without a bus nobody else tells of removals, and none can be missed.
    pub(crate) fn new(clock: Clock, has_bus: bool, grace: Duration) -> Self {
        let until = AtomicU64::new(if has_bus { 0 } else { UP });
        Self { until, clock, proven: BusDeadline::new(), grace }
    }

    /// What the bus keeps up to date.
    pub(crate) fn proven(&self) -> &BusDeadline {
        &self.proven
    }

    /// While the bus is up: until when it is known to be. For a near hit that looks at the clock by
    /// itself; in a grace and without a bus that is up it has to ask [`serves`](Self::serves).
    #[inline(always)]
    pub(crate) fn proven_until(&self) -> Option<Timestamp> {
        (self.until.load(Ordering::Acquire) == UP).then(|| self.proven.get())
    }

    /// While the bus is up that is two loads and a look at the cheap clock.
    #[inline(always)]
    pub(crate) fn serves(&self) -> bool {
        let until = self.until.load(Ordering::Acquire);
        (until == UP && self.proven.is_ahead()) || self.serves_in_grace(until)
    }

    /// By both clocks: events come by that of the cache, proofs by the system's.
    #[cold]
    fn serves_in_grace(&self, until: u64) -> bool {
        until != 0
            && !self.grace.is_zero()
            && (until == UP || self.clock.is_before(Timestamp::from_micros(until)))
            && self.proven.is_within(self.grace)
    }

    /// When what is trusted now is over, or, where nothing is, when loads are to be joined no more that
    /// began since `looked`; and by which clock.
    pub(crate) fn look_again(&self, looked: Timestamp) -> (Clock, Timestamp) {
        let (system, next) = (Clock::system(), looked + JOINED);
        match self.until.load(Ordering::Acquire) {
            UP if system.now() < self.proven.get() => (system, self.proven.get() + COARSE),
            UP => (self.clock.clone(), next),
            grace => (self.clock.clone(), next.max(Timestamp::from_micros(grace))),
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.until.load(Ordering::Acquire) == UP && self.proven.is_ahead()
    }

    /// The bus is up, and what was kept before is gone. True if it was not up before.
    pub(crate) fn gain(&self) -> bool {
        self.until.swap(UP, Ordering::AcqRel) != UP
    }

    /// What is held may be wrong: no grace, until it is gained anew.
    pub(crate) fn revoke(&self) {
        self.until.store(0, Ordering::Release);
    }

    /// The bus is lost. True if it was up before; a second loss does not prolong the grace.
    pub(crate) fn lose(&self) -> bool {
        let until = match self.grace {
            Duration::ZERO => 0,
            grace => (self.clock.now() + grace).as_micros().min(UP - 1),
        };
        self.until.compare_exchange(UP, until, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cache_core::ManualClock;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn lost_it_serves_for_its_grace_and_no_longer() {
        let clock = ManualClock::at(Timestamp::from_micros(1_000_000));
        let trust = Trust::new(clock.clock(), true, SECOND * 2);
        assert!(!trust.serves());
        assert!(trust.gain() && trust.serves());
        assert!(trust.lose() && trust.serves());
        clock.advance(SECOND);
        assert!(!trust.lose(), "lost already");
        clock.advance(SECOND);
        assert!(!trust.serves());
        assert!(trust.gain() && trust.lose() && trust.serves());
        trust.revoke();
        assert!(!trust.serves(), "in its grace");
        let none = Trust::new(clock.clock(), true, Duration::ZERO);
        assert!(none.gain() && none.lose() && !none.serves());
    }

    #[test]
    fn without_a_proof_in_time_it_is_as_if_it_had_been_lost() {
        let now = Clock::system().now();
        for (grace, in_grace) in [(Duration::ZERO, false), (SECOND * 60, true)] {
            let trust = Trust::new(Clock::system(), true, grace);
            trust.proven().end();
            assert!(!trust.serves() && trust.gain());
            trust.proven().set(now + SECOND * 60);
            assert!(trust.serves() && trust.is_up());
            trust.proven().set(now - SECOND);
            assert_eq!((trust.serves(), trust.is_up()), (in_grace, false));
            // The grace is over, however late the loss is heard of.
            trust.proven().set(now - SECOND * 61);
            assert!(!trust.serves());
            assert!(trust.lose() && !trust.serves());
            trust.proven().set(now + SECOND * 60);
            assert!(trust.gain() && trust.serves());
            trust.proven().end();
            assert_eq!(trust.serves(), in_grace, "ended at once, without an event");
        }
    }

    #[test]
    fn without_a_bus_it_serves() {
        let trust = Trust::new(ManualClock::new().clock(), false, Duration::ZERO);
        assert!(trust.serves() && trust.is_up());
    }
}
