//! A timer that is exact to some 50 µs. Tokio's counts in milliseconds and rounds up: under it a hold
//! of 1 ms takes 2, and so do a hold and a hand-over together.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::unix::AsyncFd;

pub(crate) struct Timer(AsyncFd<OwnedFd>);

impl Timer {
    /// Within a runtime.
    pub(crate) fn new() -> Self {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags).unwrap();
        #[allow(deprecated, reason = "its successor is unsafe; an `OwnedFd` is what both ask for")]
        Self(AsyncFd::new(timer).unwrap())
    }

    /// May be dropped, and called again.
    pub(crate) async fn sleep_until(&mut self, then: Instant) {
        loop {
            let left = then.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let timespec =
                |time: Duration| Timespec::try_from(time).expect("no bench waits for so long");
            let value =
                Itimerspec { it_interval: timespec(Duration::ZERO), it_value: timespec(left) };
            timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::empty(), &value).unwrap();
            // One that was ready for an earlier time sends it round the loop.
            self.0.readable().await.unwrap().clear_ready();
        }
    }
}
