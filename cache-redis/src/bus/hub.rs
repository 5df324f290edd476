//! Who listens, and what each has still to hear.
//!
//! Rules:
//!
//! 1. Every listener hears the same events in the same order: they are handed out under one lock.
//! 2. What belongs to a subscription that was lost is not handed out any more: its number is old.
//! 3. A listener whose queue is full has missed something: what it has not heard yet gives way to
//!    `Disconnected` and `Connected`. A `Filled` alone is left out, for whoever waits has a timer.
//!    The same befalls all of them when messages were lost on the way.
//! 4. The first event is `Connected`, and none is `Disconnected` that does not follow one.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};

use cache_core::{BusDeadline, BusEvent, Timestamp};
use futures_util::Stream;
use parking_lot::{Mutex, MutexGuard};

use super::queue::Queue;

#[derive(Debug, Default)]
pub(super) struct Hub {
    state: Mutex<State>,
    /// How often a queue was full.
    pub(super) overflows: AtomicU64,
    /// How often messages were lost on the way.
    pub(super) gaps: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    /// The number of the subscription that counts.
    number: u64,
    connected: bool,
    /// Until when it is known to be up.
    proven: Option<Timestamp>,
    /// How often a subscription was confirmed.
    confirmations: u64,
    closed: bool,
    listeners: Vec<Arc<Mutex<Queue>>>,
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
        state.proven = None;
        let number = state.number;
        if std::mem::take(&mut state.connected) {
            state.listeners.iter().for_each(|queue| queue.lock().lose());
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

    /// The subscription is known to be up until then, and what was heard before is handed out.
    pub(super) fn proven(&self, number: u64, until: Timestamp) {
        let mut state = self.state.lock();
        if state.number == number && state.connected {
            state.proven = Some(until);
            for_each(state, |queue| queue.prove(until));
        }
    }

    /// Messages were lost on the way. False if the subscription is not the one that counts.
    pub(super) fn missed(&self, number: u64) -> bool {
        let state = self.state.lock();
        let (news, proven) = (state.number == number && state.connected, state.proven);
        if news {
            self.gaps.fetch_add(1, Ordering::Relaxed);
            for_each(state, |queue| queue.start_over(true, proven));
        }
        news
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
        for_each(state, Queue::end);
        self.state.lock().listeners.clear();
    }

    /// A stream of what is handed out from now on, which sets `deadline`.
    pub(super) fn listen(self: &Arc<Self>, deadline: Option<&BusDeadline>) -> Listener {
        let mut state = self.state.lock();
        let mut queue = Queue::new(deadline);
        if state.connected {
            queue.start_over(true, state.proven);
        }
        if state.closed {
            queue.end();
        }
        let queue = Arc::new(Mutex::new(queue));
        if !state.closed {
            state.listeners.push(Arc::clone(&queue));
        }
        Listener { queue, hub: Arc::downgrade(self) }
    }

    fn tell(&self, state: MutexGuard<'_, State>, event: &BusEvent) {
        let (connected, proven) = (state.connected, state.proven);
        for_each(state, |queue| {
            if !queue.push(event) && !matches!(event, BusEvent::Filled(_)) {
                self.overflows.fetch_add(1, Ordering::Relaxed);
                queue.start_over(connected, proven);
            }
        });
    }
}

/// Changes each queue, then wakes whoever waits: not under a lock, for who knows what that runs.
fn for_each(state: MutexGuard<'_, State>, change: impl Fn(&mut Queue)) {
    let mut wakers: Vec<Waker> = Vec::new();
    for queue in &state.listeners {
        let mut queue = queue.lock();
        change(&mut queue);
        wakers.extend(queue.take_waker());
    }
    drop(state);
    wakers.into_iter().for_each(Waker::wake);
}

/// A stream of events; dropped, it is forgotten.
pub(super) struct Listener {
    queue: Arc<Mutex<Queue>>,
    hub: Weak<Hub>,
}

impl Stream for Listener {
    type Item = BusEvent;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<BusEvent>> {
        self.queue.lock().poll(cx)
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
    use std::time::Duration;

    use cache_core::{Clock, Selector};
    use futures_util::{FutureExt, StreamExt};

    use super::super::queue::{MOST_BYTES, MOST_WAITING};
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
        let mut early = hub.listen(None);
        let number = hub.begin();
        hub.heard(number, &removed(0));
        assert_eq!(drain(&mut early), []);
        assert!(hub.confirmed(number) && !hub.confirmed(number));
        hub.heard(number, &removed(1));
        let mut late = hub.listen(None);
        assert_eq!(drain(&mut early), [Connected, removed(1)]);
        assert_eq!(drain(&mut late), [Connected]);
    }

    #[test]
    fn a_lost_subscription_says_no_more() {
        let hub = Arc::new(Hub::default());
        let mut listener = hub.listen(None);
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
        let (mut slow, mut new, mut quick) = (hub.listen(None), hub.listen(None), hub.listen(None));
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
        let mut slow = hub.listen(None);
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
        let mut listener = hub.listen(None);
        drop(hub.listen(None));
        assert_eq!(hub.state.lock().listeners.len(), 1);
        let number = hub.begin();
        hub.confirmed(number);
        hub.close();
        assert_eq!(listener.next().now_or_never(), Some(Some(Connected)));
        assert_eq!(listener.next().now_or_never(), Some(None));
        assert_eq!(hub.listen(None).next().now_or_never(), Some(None));
    }

    #[test]
    fn what_waits_is_bounded_in_bytes_too() {
        let hub = Arc::new(Hub::default());
        let mut slow = hub.listen(None);
        let number = hub.begin();
        hub.confirmed(number);
        assert_eq!(drain(&mut slow), [Connected]);
        let large = BusEvent::Removed(Selector::Keys(vec!["k".repeat(MOST_BYTES / 4)]));
        for _ in 0..3 {
            hub.heard(number, &large);
        }
        assert_eq!(hub.overflows.load(Ordering::Relaxed), 0);
        hub.heard(number, &large);
        hub.heard(number, &removed(7));
        assert_eq!(drain(&mut slow), [Disconnected, Connected, removed(7)]);
        // Many short keys are as much; and one message has room, whatever it says.
        let many = BusEvent::Removed(Selector::Keys(vec![String::new(); MOST_BYTES / 20]));
        hub.heard(number, &many);
        assert_eq!(drain(&mut slow), std::slice::from_ref(&many));
        hub.heard(number, &many);
        hub.heard(number, &removed(8));
        assert_eq!(drain(&mut slow), [Disconnected, Connected]);
        assert_eq!(hub.overflows.load(Ordering::Relaxed), 2);
    }

    fn in_a_minute() -> Timestamp {
        Clock::system().now() + Duration::from_secs(60)
    }

    #[test]
    fn a_proof_counts_once_what_came_before_is_dealt_with() {
        let hub = Arc::new(Hub::default());
        let deadline = BusDeadline::new();
        let mut listener = hub.listen(Some(&deadline));
        assert!(!deadline.is_ahead());
        let number = hub.begin();
        hub.confirmed(number);
        hub.proven(number, in_a_minute());
        assert_eq!(listener.next().now_or_never(), Some(Some(Connected)));
        assert!(!deadline.is_ahead(), "nobody knows whether that is dealt with");
        assert_eq!(drain(&mut listener), []);
        assert!(deadline.is_ahead());
        // One that is behind is not proven anything.
        deadline.end();
        hub.heard(number, &removed(1));
        hub.proven(number, in_a_minute());
        hub.proven(number, in_a_minute());
        assert_eq!(listener.next().now_or_never(), Some(Some(removed(1))));
        assert!(!deadline.is_ahead());
        assert_eq!(drain(&mut listener), []);
        assert!(deadline.is_ahead());
        // Who comes later need not wait for the next heartbeat.
        let late = BusDeadline::new();
        assert_eq!(drain(&mut hub.listen(Some(&late))), [Connected]);
        assert!(late.is_ahead());
    }

    #[test]
    fn a_loss_ends_trust_before_what_waits_is_heard() {
        let hub = Arc::new(Hub::default());
        let deadline = BusDeadline::new();
        let mut listener = hub.listen(Some(&deadline));
        let lose: [fn(&Hub, u64); 3] = [
            |hub, _| {
                hub.lost();
            },
            |hub, number| assert!(hub.missed(number)),
            |hub, number| (0..=MOST_WAITING).for_each(|event| hub.heard(number, &removed(event))),
        ];
        for lose in lose {
            let number = hub.begin();
            hub.confirmed(number);
            hub.proven(number, in_a_minute());
            drain(&mut listener);
            assert!(deadline.is_ahead());
            hub.heard(number, &removed(1));
            hub.proven(number, in_a_minute());
            lose(&hub, number);
            assert!(!deadline.is_ahead());
            let number = hub.begin();
            hub.confirmed(number);
            hub.proven(number, in_a_minute());
            // The proof is about a subscription that it has not heard of yet.
            while let Some(Some(event)) = listener.next().now_or_never() {
                assert!(!deadline.is_ahead(), "{event:?}");
            }
            assert!(deadline.is_ahead());
        }
        hub.close();
        assert!(!deadline.is_ahead());
    }

    #[test]
    fn what_was_lost_on_the_way_is_told() {
        let hub = Arc::new(Hub::default());
        let mut listener = hub.listen(None);
        let old = hub.begin();
        assert!(!hub.missed(old), "not confirmed");
        hub.confirmed(old);
        hub.heard(old, &removed(1));
        assert_eq!(drain(&mut listener), [Connected, removed(1)]);
        hub.heard(old, &removed(2));
        assert!(hub.missed(old));
        hub.heard(old, &removed(3));
        assert_eq!(drain(&mut listener), [Disconnected, Connected, removed(3)]);
        let number = hub.begin();
        hub.confirmed(number);
        assert!(!hub.missed(old), "another subscription");
        assert_eq!(hub.gaps.load(Ordering::Relaxed), 1);
    }
}
