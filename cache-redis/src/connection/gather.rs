//! Fuller packets: what moves a connection's bytes lets the tasks that are ready go first.
//!
//! A runtime polls a task that was woken by another one before all that are ready. Of the calls
//! that become ready together, when a packet of replies has come in, each would cost a write of
//! its own.
//!
//! Rules:
//!
//! 1. Once per wake, whatever the load: it never waits behind tasks that become ready later.
//! 2. A call that is alone on its connection is not held up.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

/// How many calls a link carries, and above that how many were given up whose replies may still be
/// on their way: one of those weighs more than all calls that are under way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Load(Arc<AtomicUsize>);

/// What a call that was given up counts.
const GIVEN_UP: usize = 1 << (usize::BITS / 2);

impl Load {
    /// For comparing.
    pub(crate) fn weight(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn under_way(&self) -> usize {
        self.weight() % GIVEN_UP
    }

    pub(crate) fn given_up(&self) -> usize {
        self.weight() / GIVEN_UP
    }

    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn remove(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// One that was under way is given up.
    pub(crate) fn give_up(&self) {
        self.0.fetch_add(GIVEN_UP - 1, Ordering::Relaxed);
    }

    /// So many that were given up are over.
    pub(crate) fn over(&self, given_up: usize) {
        self.0.fetch_sub(given_up * GIVEN_UP, Ordering::Relaxed);
    }
}

/// A connection's driver that steps back once, when it is woken.
pub(crate) struct Gathering<D> {
    driver: Pin<Box<D>>,
    load: Load,
    stepped_back: bool,
}

impl<D> Gathering<D> {
    pub(crate) fn new(driver: D, load: Load) -> Self {
        Self { driver: Box::pin(driver), load, stepped_back: false }
    }
}

impl<D: Future<Output = ()>> Future for Gathering<D> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if !self.stepped_back && self.load.under_way() > 1 {
            self.stepped_back = true;
            // To the end of the queue.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.stepped_back = false;
        self.driver.as_mut().poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_call_that_was_given_up_outweighs_those_that_are_under_way() {
        let (load, busy) = (Load::default(), Load::default());
        (0..1_000).for_each(|_| busy.add());
        load.add();
        load.add();
        load.give_up();
        assert_eq!((load.under_way(), load.given_up()), (1, 1));
        assert!(load.weight() > busy.weight());
        load.over(load.given_up());
        load.remove();
        assert_eq!(load.weight(), 0);
    }

    #[test]
    fn it_steps_back_once_for_many_calls_and_never_for_one() {
        let (load, woken, mut polls) = (Load::default(), Arc::new(Woken::default()), 0);
        let driver = std::future::poll_fn(|_| {
            polls += 1;
            if polls < 4 { Poll::Pending } else { Poll::Ready(()) }
        });
        let mut gathering = Gathering::new(driver, load.clone());
        let waker = Arc::clone(&woken).into();
        let mut poll = |expected_wakes| {
            let ready = Pin::new(&mut gathering).poll(&mut Context::from_waker(&waker));
            assert_eq!(woken.0.load(Ordering::Relaxed), expected_wakes);
            ready.is_ready()
        };
        load.add();
        assert!(!poll(0)); // the first poll of the driver
        load.add();
        assert!(!poll(1)); // it steps back, and will be polled again
        assert!(!poll(1)); // the second
        assert!(!poll(2)); // it steps back
        assert!(!poll(2)); // the third
        load.remove();
        assert!(poll(2)); // the fourth and last
    }
}
