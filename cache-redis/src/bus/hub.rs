//! Who listens, and what each has still to hear.
//!
//! Rules:
//!
//! 1. Every listener hears the same events in the same order: they are handed out under one lock.
//! 2. What belongs to a subscription that was lost is not handed out any more: its number is old.
//! 3. A listener whose queue is full has missed something: what it has not heard yet gives way to
//!    `Disconnected` and `Connected`. A `Filled` alone is left out, for whoever waits has a timer.
//! 4. The first event is `Connected`, and none is `Disconnected` that does not follow one.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};

use cache_core::BusEvent;
use futures_util::Stream;
use parking_lot::{Mutex, MutexGuard};

/// How many events may wait for one listener.
pub(super) const MOST_WAITING: usize = 1_024;

#[derive(Debug, Default)]
pub(super) struct Hub {
    state: Mutex<State>,
    /// How often rule 3 came true.
    pub(super) overflows: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    /// The number of the subscription that counts.
    number: u64,
    connected: bool,
    /// How often a subscription was confirmed.
    confirmations: u64,
    closed: bool,
    listeners: Vec<Arc<Mutex<Queue>>>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<BusEvent>,
    /// The last of `Connected` and `Disconnected` that was heard is `Connected`.
    trusts: bool,
    ended: bool,
    waker: Option<Waker>,
}

impl Hub {
    /// A subscription is being made: its number. Whatever was before is lost.
    pub(super) fn begin(&self) -> u64 {
        self.lost()
    }

    /// The subscription is confirmed. False if it is not the one that counts.
    pub(super) fn confirmed(&self, number: u64) -> bool {
        let mut state = self.state.lock();
        let news = state.number == number && !state.connected && !state.closed;
        if news {
            state.connected = true;
            state.confirmations += 1;
            self.tell(state, &BusEvent::Connected);
        }
        news
    }

    /// The subscription is lost, if it was confirmed at all.
    pub(super) fn lost(&self) -> u64 {
        let mut state = self.state.lock();
        state.number += 1;
        let number = state.number;
        if std::mem::take(&mut state.connected) {
            self.tell(state, &BusEvent::Disconnected);
        }
        number
    }

    /// Another node says this.
    pub(super) fn heard(&self, number: u64, event: &BusEvent) {
        let state = self.state.lock();
        if state.number == number && state.connected {
            self.tell(state, event);
        }
    }

    pub(super) fn is_connected(&self) -> bool {
        self.state.lock().connected
    }

    /// How often a subscription was confirmed in place of one that was lost.
    pub(super) fn reconnects(&self) -> u64 {
        self.state.lock().confirmations.saturating_sub(1)
    }

    /// Ends every stream, after what waits in it.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.connected = false;
        let listeners = std::mem::take(&mut state.listeners);
        drop(state);
        for queue in listeners {
            let waker = {
                let mut queue = queue.lock();
                queue.ended = true;
                queue.waker.take()
            };
            waker.into_iter().for_each(Waker::wake);
        }
    }

    pub(super) fn listen(self: &Arc<Self>) -> Listener {
        let mut state = self.state.lock();
        let queue = Arc::new(Mutex::new(Queue { ended: state.closed, ..Queue::default() }));
        if state.connected {
            queue.lock().waiting.push_back(BusEvent::Connected);
        }
        if !state.closed {
            state.listeners.push(Arc::clone(&queue));
        }
        Listener { queue, hub: Arc::downgrade(self) }
    }

    /// Hands `event` out, then wakes whoever waits: not under a lock, for who knows what that runs.
    fn tell(&self, state: MutexGuard<'_, State>, event: &BusEvent) {
        let mut wakers = Vec::new();
        for queue in &state.listeners {
            let mut queue = queue.lock();
            if queue.waiting.len() >= MOST_WAITING {
                if matches!(event, BusEvent::Filled(_)) {
                    continue;
                }
                self.overflows.fetch_add(1, Ordering::Relaxed);
                queue.overflow(state.connected);
            } else {
                queue.waiting.push_back(event.clone());
            }
            wakers.extend(queue.waker.take());
        }
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Queue {
    fn overflow(&mut self, connected: bool) {
        self.waiting.clear();
        // What it last heard decides what it is to hear.
        if self.trusts {
            self.waiting.push_back(BusEvent::Disconnected);
        }
        if connected {
            self.waiting.push_back(BusEvent::Connected);
        }
    }
}

/// A stream of events; dropped, it is forgotten.
pub(super) struct Listener {
    queue: Arc<Mutex<Queue>>,
    hub: Weak<Hub>,
}

impl Stream for Listener {
    type Item = BusEvent;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<BusEvent>> {
        let mut queue = self.queue.lock();
        match queue.waiting.pop_front() {
            Some(event) => {
                match event {
                    BusEvent::Connected => queue.trusts = true,
                    BusEvent::Disconnected => queue.trusts = false,
                    _ => {}
                }
                Poll::Ready(Some(event))
            }
            None if queue.ended => Poll::Ready(None),
            None => {
                queue.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(hub) = self.hub.upgrade() {
            hub.state.lock().listeners.retain(|queue| !Arc::ptr_eq(queue, &self.queue));
        }
    }
}

#[cfg(test)]
mod tests {
    use cache_core::Selector;
    use futures_util::{FutureExt, StreamExt};

    use super::BusEvent::{Connected, Disconnected};
    use super::*;

    fn removed(number: usize) -> BusEvent {
        BusEvent::Removed(Selector::key(number.to_string()))
    }

    fn drain(listener: &mut Listener) -> Vec<BusEvent> {
        std::iter::from_fn(|| listener.next().now_or_never().flatten()).collect()
    }

    #[test]
    fn a_stream_begins_when_the_subscription_is_confirmed() {
        let hub = Arc::new(Hub::default());
        let mut early = hub.listen();
        let number = hub.begin();
        hub.heard(number, &removed(0));
        assert_eq!(drain(&mut early), []);
        assert!(hub.confirmed(number) && !hub.confirmed(number));
        hub.heard(number, &removed(1));
        let mut late = hub.listen();
        assert_eq!(drain(&mut early), [Connected, removed(1)]);
        assert_eq!(drain(&mut late), [Connected]);
    }

    #[test]
    fn a_lost_subscription_says_no_more() {
        let hub = Arc::new(Hub::default());
        let mut listener = hub.listen();
        let old = hub.begin();
        hub.lost();
        assert!(!hub.confirmed(old));
        let number = hub.begin();
        hub.confirmed(number);
        hub.lost();
        hub.heard(number, &removed(1));
        hub.lost();
        assert_eq!(drain(&mut listener), [Connected, Disconnected]);
    }

    #[test]
    fn who_falls_behind_is_told_that_something_was_missed() {
        let hub = Arc::new(Hub::default());
        let (mut slow, mut new, mut quick) = (hub.listen(), hub.listen(), hub.listen());
        let number = hub.begin();
        hub.confirmed(number);
        assert_eq!(slow.next().now_or_never(), Some(Some(Connected)));
        let mut told = 0;
        for event in 0..=MOST_WAITING {
            hub.heard(number, &removed(event));
            told += drain(&mut quick).len();
        }
        assert_eq!(told, MOST_WAITING + 2);
        hub.heard(number, &removed(7));
        assert_eq!(drain(&mut slow), [Disconnected, Connected, removed(7)]);
        // Two that had not been heard: `Connected` and the rest.
        assert_eq!(drain(&mut new), [Connected, removed(MOST_WAITING), removed(7)]);
        assert_eq!(hub.overflows.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn what_was_filled_is_left_out_first() {
        let hub = Arc::new(Hub::default());
        let mut slow = hub.listen();
        let number = hub.begin();
        hub.confirmed(number);
        for event in 1..MOST_WAITING {
            hub.heard(number, &removed(event));
        }
        hub.heard(number, &BusEvent::Filled(Vec::new()));
        assert_eq!(drain(&mut slow).len(), MOST_WAITING);
        assert_eq!(hub.overflows.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn streams_end_with_the_bus_and_are_forgotten_when_dropped() {
        let hub = Arc::new(Hub::default());
        let mut listener = hub.listen();
        drop(hub.listen());
        assert_eq!(hub.state.lock().listeners.len(), 1);
        let number = hub.begin();
        hub.confirmed(number);
        hub.close();
        assert_eq!(listener.next().now_or_never(), Some(Some(Connected)));
        assert_eq!(listener.next().now_or_never(), Some(None));
        assert_eq!(hub.listen().next().now_or_never(), Some(None));
    }
}
