//! Polling by hand: a test decides when a future runs, so nothing has to be slept for.
#![allow(dead_code, reason = "each test file uses its share")]
#![allow(clippy::panic, reason = "test code, though not inside a test function")]

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use cache_concurrency::LocalConcurrencyService;
use cache_core::ManualClock;

/// A service on a clock that stands still.
pub(crate) fn manual() -> (LocalConcurrencyService, ManualClock) {
    let clock = ManualClock::new();
    (LocalConcurrencyService::builder().clock(&clock).build(), clock)
}

/// A future in the hands of a test.
pub(crate) struct Hand<'a, T> {
    future: Pin<Box<dyn Future<Output = T> + 'a>>,
    wakes: Arc<Wakes>,
}

struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

impl<'a, T> Hand<'a, T> {
    pub(crate) fn new(future: impl Future<Output = T> + 'a) -> Self {
        Self { future: Box::pin(future), wakes: Arc::new(Wakes(AtomicUsize::new(0))) }
    }

    pub(crate) fn poll(&mut self) -> Poll<T> {
        let waker = Waker::from(Arc::clone(&self.wakes));
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }

    /// Its output, which must be there with this poll.
    pub(crate) fn ready(&mut self) -> T {
        match self.poll() {
            Poll::Ready(output) => output,
            Poll::Pending => panic!("pending"),
        }
    }

    /// Polls it and expects it to wait.
    pub(crate) fn waits(&mut self) {
        assert!(self.poll().is_pending(), "ready");
    }

    /// How often it was woken.
    pub(crate) fn wakes(&self) -> usize {
        self.wakes.0.load(SeqCst)
    }
}

/// What `future` gives at its first poll.
pub(crate) fn now<'a, T>(future: impl Future<Output = T> + 'a) -> T {
    Hand::new(future).ready()
}

/// Waits until `condition` holds; tasks bring it about, so it takes as long as they take.
pub(crate) async fn until(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "what the test waits for does not come about");
        tokio::task::yield_now().await;
    }
}
