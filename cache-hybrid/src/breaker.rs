//! A circuit breaker: after some failures in a row calls fail at once, except for one that tries.
//!
//! Rules:
//!
//! 1. Failures are what says that the other side is not there: unavailable, or no answer in time.
//!    Whatever else it answers, it is there.
//! 2. While open, one call at a time goes through, each [`PAUSE`] after the last one failed. One that
//!    has not ended after the time that a call may take is not waited for.
//! 3. What may fail by itself, as a removal does again and again where something is in the way of one of
//!    its keys, is admitted as others are and takes nobody's turn. That it fails says nothing; that
//!    it does not closes the breaker.
//! 4. One line is logged per change.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use cache_core::{CacheError, Clock, ErrorKind, Timestamp};
use parking_lot::Mutex;

use crate::latency::{FarLatency, Latency};

/// Failures in a row that open it.
const FAILURES: u32 = 5;
/// How long it stays open before a call tries again.
const PAUSE: Duration = Duration::from_millis(250);

pub(crate) struct Breaker {
    /// What it guards, for people.
    name: &'static str,
    clock: Clock,
    /// How long a call takes at most.
    patience: Duration,
    /// Nothing has failed: the state need not be looked at.
    calm: AtomicBool,
    state: Mutex<State>,
    latency: Latency,
    closings: AtomicU64,
}

#[derive(Default)]
struct State {
    failures: u32,
    /// While open: when the next call may try.
    retry_at: Option<Timestamp>,
}

/// A call that may be made; it is to be told how that went.
#[must_use]
pub(crate) struct Permit<'a> {
    breaker: &'a Breaker,
    begun: Timestamp,
}

impl Breaker {
    pub(crate) fn new(name: &'static str, clock: Clock, patience: Duration) -> Self {
        let (calm, state, latency) = (AtomicBool::new(true), Mutex::default(), Latency::default());
        let closings = AtomicU64::new(0);
        Self { name, clock, patience, calm, state, latency, closings }
    }

    /// How long the calls took that it let through.
    pub(crate) fn latency(&self) -> FarLatency {
        self.latency.read()
    }

    /// How often it has closed.
    pub(crate) fn closings(&self) -> u64 {
        self.closings.load(Ordering::Acquire)
    }

    pub(crate) fn is_open(&self) -> bool {
        !self.calm.load(Ordering::Acquire) && self.state.lock().retry_at.is_some()
    }

    /// Whether a call would be refused just now.
    pub(crate) fn refuses(&self) -> bool {
        !self.calm.load(Ordering::Acquire)
            && self.state.lock().retry_at.is_some_and(|retry_at| self.clock.now() < retry_at)
    }

    /// A call within its budget, unless the other side does not answer at present.
    pub(crate) async fn guard<T, F>(
        &self,
        budget: Duration,
        call: impl FnOnce() -> F,
    ) -> Result<T, CacheError>
    where
        F: Future<Output = Result<T, CacheError>>,
    {
        let permit = self.admit()?;
        let result = permit.call(budget, call()).await;
        permit.report(&result);
        result
    }

    /// As [`guard`](Self::guard), by rule 3.
    pub(crate) async fn guard_apart<T>(
        &self,
        budget: Duration,
        call: impl Future<Output = Result<T, CacheError>>,
    ) -> Result<T, CacheError> {
        if self.refuses() {
            return Err(self.refused());
        }
        let permit = self.permit();
        let result = permit.call(budget, call).await;
        match &result {
            Err(error) if is_absence(error) => permit.count(),
            answer => permit.report(answer),
        }
        result
    }

    fn refused(&self) -> CacheError {
        let message = format!("{} does not answer; it is tried again soon", self.name);
        CacheError::new(ErrorKind::Unavailable, message)
    }

    fn permit(&self) -> Permit<'_> {
        Permit { breaker: self, begun: self.clock.now() }
    }

    /// Lets a call through, or says that it would be in vain.
    fn admit(&self) -> Result<Permit<'_>, CacheError> {
        if !self.calm.load(Ordering::Acquire) {
            let mut state = self.state.lock();
            if let Some(retry_at) = &mut state.retry_at {
                let now = self.clock.now();
                if now < *retry_at {
                    return Err(self.refused());
                }
                // This one tries; if it is dropped, another does when it would have ended.
                *retry_at = now + PAUSE.max(self.patience);
            }
        }
        Ok(self.permit())
    }
}

/// Rule 1.
fn is_absence(error: &CacheError) -> bool {
    matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout)
}

impl Permit<'_> {
    /// Makes the call, within its budget.
    async fn call<T>(
        &self,
        budget: Duration,
        call: impl Future<Output = Result<T, CacheError>>,
    ) -> Result<T, CacheError> {
        tokio::select! {
            biased;
            result = call => result,
            () = self.breaker.clock.sleep_until(self.begun + budget) => {
                let message = format!("no answer within {budget:?}");
                Err(CacheError::new(ErrorKind::Timeout, message))
            }
        }
    }

    /// How long it took counts.
    fn count(&self) {
        let Breaker { clock, latency, .. } = self.breaker;
        latency.count(self.begun.until(clock.now()));
    }

    pub(crate) fn report<T>(self, result: &Result<T, CacheError>) {
        self.count();
        let Breaker { name, clock, calm, state, closings, .. } = self.breaker;
        match result {
            Err(error) if is_absence(error) => {
                let mut state = state.lock();
                calm.store(false, Ordering::Release);
                state.failures = state.failures.saturating_add(1);
                if state.failures < FAILURES {
                    return;
                }
                let opened = state.retry_at.is_none();
                state.retry_at = Some(clock.now() + PAUSE);
                drop(state);
                if opened {
                    tracing::warn!(%error, "{name} does not answer: going on without it");
                }
            }
            _ if calm.load(Ordering::Acquire) => {}
            _ => {
                let mut state = state.lock();
                let closed = std::mem::take(&mut *state).retry_at.is_some();
                calm.store(true, Ordering::Release);
                drop(state);
                if closed {
                    closings.fetch_add(1, Ordering::AcqRel);
                    tracing::info!("{name} answers again");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cache_core::ManualClock;

    const PATIENCE: Duration = Duration::from_millis(300);

    fn fail(breaker: &Breaker, kind: ErrorKind) -> bool {
        let Ok(permit) = breaker.admit() else { return false };
        permit.report::<()>(&Err(CacheError::new(kind, "test")));
        true
    }

    #[test]
    fn it_opens_tries_one_call_at_a_time_and_closes() {
        let clock = ManualClock::new();
        let breaker = Breaker::new("the far tier", clock.clock(), PATIENCE);
        for _ in 0..FAILURES {
            assert!(!breaker.is_open());
            assert!(fail(&breaker, ErrorKind::Timeout));
        }
        assert!(breaker.is_open());
        assert!(!fail(&breaker, ErrorKind::Timeout), "open");
        for _ in 0..3 {
            clock.advance(PAUSE);
            let trying = breaker.admit().unwrap();
            assert!(breaker.admit().is_err(), "two at once");
            trying.report::<()>(&Err(CacheError::new(ErrorKind::Unavailable, "test")));
        }
        clock.advance(PAUSE);
        drop(breaker.admit().unwrap());
        clock.advance(PAUSE);
        assert!(breaker.admit().is_err(), "the one that was dropped may go on for all we know");
        clock.advance(PATIENCE - PAUSE);
        breaker.admit().unwrap().report(&Ok(()));
        assert!(!breaker.is_open());
        assert!(breaker.admit().is_ok() && breaker.admit().is_ok());
    }

    #[test]
    fn what_the_other_side_refuses_is_an_answer() {
        let breaker = Breaker::new("the far tier", ManualClock::new().clock(), PATIENCE);
        for _ in 0..FAILURES * 2 {
            assert!(fail(&breaker, ErrorKind::Unavailable));
            assert!(fail(&breaker, ErrorKind::Backend));
        }
        assert!(!breaker.is_open());
    }
}
