//! Fencing tokens: one counter for the process.
//!
//! For the process, not for each service, so that a service made after another one issues higher
//! tokens even if the first drew them faster than one per microsecond, and so that no two grants
//! of any two services share one.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use cache_core::Timestamp;

static LAST: AtomicU64 = AtomicU64::new(0);
/// A clock that claims a later time than this (140,000 years) is not followed: there must be
/// room to count.
const LATEST: u64 = 1 << 62;

/// A token above all before it, and at least `now` in microseconds since the epoch.
pub(crate) fn next(now: Timestamp) -> u64 {
    let after = |last: u64| last.wrapping_add(1).max(now.as_micros().min(LATEST));
    let mut last = LAST.load(Relaxed);
    loop {
        match LAST.compare_exchange_weak(last, after(last), Relaxed, Relaxed) {
            Ok(_) => return after(last),
            Err(other) => last = other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_increase_whatever_the_clock_says() {
        let times = [Timestamp::ZERO, Timestamp::from_micros(5), Timestamp::MAX, Timestamp::ZERO];
        let tokens: Vec<_> = times.iter().cycle().take(100).map(|now| next(*now)).collect();
        assert!(tokens.is_sorted_by(|a, b| a < b));
    }
}
