//! What time it is on the server.
//!
//! Rules:
//!
//! 1. A sample is taken around one `TIME`: the server read its clock between our two readings, so
//!    its offset is known to half the round trip.
//! 2. The sample with the smallest uncertainty counts, and ages: two good clocks drift apart by up
//!    to 100 µs in a second.
//! 3. A sample that contradicts the one that counts (their ranges do not overlap) says that a clock
//!    was set or that another server answers: it starts the estimate anew.
//! 4. What bounds a call that is under way goes by the timer that bounds its caller: our own clock may
//!    be set meanwhile, or be a test's.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use cache_core::{Clock, Timestamp};
use parking_lot::Mutex;
use redis::Value;
use tokio::time::Instant;

/// Samples kept: with a heartbeat each second the better half of a minute.
const KEPT: usize = 32;
const DRIFT: f64 = 100e-6;
const UNKNOWN: u64 = u64::MAX;

/// The server's clock as seen from here: ours plus an offset.
#[derive(Debug)]
pub(crate) struct ServerClock {
    clock: Clock,
    /// From here the timer counts.
    origin: Instant,
    samples: Mutex<VecDeque<Sample>>,
    offset: AtomicI64,
    /// As `offset`, to be added to the timer.
    to_timer: AtomicI64,
    uncertainty: AtomicU64,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    taken: Instant,
    /// Microseconds to add to our clock.
    offset: i64,
    /// Microseconds to add to the timer.
    to_timer: i64,
    /// The offset is right to this many microseconds.
    uncertainty: u64,
}

impl Sample {
    fn uncertainty_at(&self, now: Instant) -> u64 {
        let drift = now.saturating_duration_since(self.taken).as_micros() as f64 * DRIFT;
        self.uncertainty.saturating_add(drift as u64)
    }
}

/// A question for the time, asked and not yet answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    local: Timestamp,
    at: Instant,
}

impl ServerClock {
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            clock,
            origin: Instant::now(),
            samples: Mutex::default(),
            offset: AtomicI64::new(0),
            to_timer: AtomicI64::new(0),
            uncertainty: AtomicU64::new(UNKNOWN),
        }
    }

    pub(crate) fn ask(&self) -> Asked {
        Asked { local: self.clock.now(), at: Instant::now() }
    }

    /// Takes the answer to `TIME` into account; one that is none is ignored.
    pub(crate) fn answered(&self, asked: Asked, reply: &Value) {
        let (taken, local) = (Instant::now(), self.clock.now());
        let Some(server) = parse(reply) else { return };
        let middle = asked.local.as_micros().midpoint(local.as_micros());
        let round_trip = taken.saturating_duration_since(asked.at).as_micros();
        let ahead = |of: u64| i64::try_from(i128::from(server) - i128::from(of)).unwrap_or(0);
        let to_timer = ahead(self.timer(asked.at).midpoint(self.timer(taken)));
        // The server's own reading is whole microseconds, ours too.
        let uncertainty = u64::try_from(round_trip.div_ceil(2) + 1).unwrap_or(UNKNOWN - 1);
        self.add(Sample { taken, offset: ahead(middle), to_timer, uncertainty });
    }

    fn add(&self, sample: Sample) {
        let mut samples = self.samples.lock();
        let now = sample.taken;
        if let Some(best) = best(&samples, now) {
            let reach = best.uncertainty_at(now).saturating_add(sample.uncertainty);
            if best.offset.abs_diff(sample.offset) > reach {
                samples.clear();
            }
        }
        if samples.len() == KEPT {
            samples.pop_front();
        }
        samples.push_back(sample);
        if let Some(best) = best(&samples, now) {
            self.offset.store(best.offset, Ordering::Relaxed);
            self.to_timer.store(best.to_timer, Ordering::Relaxed);
            self.uncertainty.store(best.uncertainty_at(now), Ordering::Relaxed);
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        let micros = self.clock.now().as_micros();
        Timestamp::from_micros(micros.saturating_add_signed(self.offset_micros()))
    }

    /// What the timer shows, in microseconds.
    fn timer(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.origin).as_micros()).unwrap_or(u64::MAX)
    }

    /// What the server's clock shows `wait` from now or earlier: `None` until it has been asked. Not
    /// earlier than half of that, however little is known: a slow link is to get its writes in.
    pub(crate) fn before(&self, wait: Duration) -> Option<Timestamp> {
        let off = self.uncertainty()?.min(wait / 2);
        let timer = self.timer(Instant::now() + wait.saturating_sub(off));
        let to_timer = self.to_timer.load(Ordering::Relaxed);
        Some(Timestamp::from_micros(timer.saturating_add_signed(to_timer)))
    }

    pub(crate) fn offset_micros(&self) -> i64 {
        self.offset.load(Ordering::Relaxed)
    }

    pub(crate) fn uncertainty(&self) -> Option<Duration> {
        Some(self.uncertainty.load(Ordering::Relaxed))
            .filter(|micros| *micros != UNKNOWN)
            .map(Duration::from_micros)
    }
}

fn best(samples: &VecDeque<Sample>, now: Instant) -> Option<Sample> {
    samples.iter().min_by_key(|sample| sample.uncertainty_at(now)).copied()
}

/// `TIME` answers seconds and microseconds as two strings.
fn parse(reply: &Value) -> Option<u64> {
    let (seconds, micros): (u64, u64) = redis::from_redis_value_ref(reply).ok()?;
    seconds.checked_mul(1_000_000)?.checked_add(micros)
}

#[cfg(test)]
mod tests {
    use cache_core::ManualClock;

    use super::*;

    fn sample(taken: Instant, offset: i64, uncertainty: u64) -> Sample {
        Sample { taken, offset, to_timer: offset, uncertainty }
    }

    #[test]
    fn the_shortest_round_trip_counts_until_it_is_old() {
        let clock = ServerClock::new(Clock::from(&ManualClock::new()));
        assert_eq!((clock.offset_micros(), clock.uncertainty()), (0, None));
        let start = Instant::now();
        clock.add(sample(start, 5_000, 900));
        clock.add(sample(start, 5_400, 100));
        clock.add(sample(start, 4_900, 700));
        assert_eq!(clock.offset_micros(), 5_400);
        assert_eq!(clock.uncertainty(), Some(Duration::from_micros(100)));
        clock.add(sample(start + Duration::from_secs(20), 5_600, 500));
        assert_eq!(clock.offset_micros(), 5_600);
    }

    #[test]
    fn a_sample_that_contradicts_starts_anew() {
        let clock = ServerClock::new(Clock::from(&ManualClock::new()));
        let start = Instant::now();
        clock.add(sample(start, 5_000, 100));
        clock.add(sample(start, -2_000_000, 10_000));
        assert_eq!(clock.offset_micros(), -2_000_000);
    }

    #[test]
    fn an_answer_gives_the_servers_time() {
        let manual = ManualClock::new();
        let clock = ServerClock::new(Clock::from(&manual));
        let server = manual.now() + Duration::from_secs(7);
        let text = |number: u64| Value::BulkString(number.to_string().into_bytes());
        let micros = server.as_micros();
        let reply = Value::Array(vec![text(micros / 1_000_000), text(micros % 1_000_000)]);
        clock.answered(clock.ask(), &reply);
        assert_eq!(clock.now(), server);
        clock.answered(clock.ask(), &Value::Nil);
        assert_eq!(clock.now(), server);
    }

    #[test]
    fn a_deadline_goes_by_the_timer_and_is_early_by_what_is_not_known() {
        let manual = ManualClock::new();
        let clock = ServerClock::new(Clock::from(&manual));
        let second = Duration::from_secs(1);
        assert_eq!(clock.before(second), None);
        let server = 5_000_000_000;
        let ahead =
            |uncertainty| Sample { taken: clock.origin, offset: 0, to_timer: server, uncertainty };
        let in_a_second = || clock.before(second).map(|at| at.as_micros() - server as u64);
        for (uncertainty, least) in [(10_000, 990_000), (900_000, 500_000)] {
            clock.samples.lock().clear();
            clock.add(ahead(uncertainty));
            manual.advance(second * 3_600);
            let past = u64::try_from(clock.origin.elapsed().as_micros()).unwrap();
            let at = in_a_second().unwrap();
            let now = u64::try_from(clock.origin.elapsed().as_micros()).unwrap();
            assert!((past..=now).contains(&(at - least)), "{at}");
        }
    }
}
