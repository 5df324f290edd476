//! What one listener has still to hear, and until when it may trust what it has heard.
//!
//! Rules:
//!
//! 1. It is bounded, in events and in bytes. A single event has room, whatever its size.
//! 2. A proof that the bus is up counts when the listener asks for what comes after it: then it
//!    has dealt with what came before. So a listener that is behind is not trusted for longer.
//! 3. A loss ends the trust at once, whatever is still waiting.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use cache_core::{BusDeadline, BusEvent, Selector, Timestamp};

/// How many events may wait.
pub(super) const MOST_WAITING: usize = 1_024;
/// How much memory they may take.
pub(super) const MOST_BYTES: usize = 16 << 20;

#[derive(Debug)]
enum Item {
    Event {
        event: BusEvent,
        bytes: usize,
    },
    /// The bus is known to be up until then.
    Proof(Timestamp),
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    items: VecDeque<Item>,
    events: usize,
    bytes: usize,
    /// The last of `Connected` and `Disconnected` that was heard is `Connected`.
    trusts: bool,
    ended: bool,
    waker: Option<Waker>,
    deadline: Option<BusDeadline>,
}

impl Queue {
    /// An empty one, which sets `deadline`.
    pub(super) fn new(deadline: Option<&BusDeadline>) -> Self {
        let queue = Self { deadline: deadline.cloned(), ..Self::default() };
        queue.end_trust();
        queue
    }

    /// False if there is no room.
    pub(super) fn push(&mut self, event: &BusEvent) -> bool {
        let bytes = bytes(event);
        let room = self.events < MOST_WAITING && self.bytes.saturating_add(bytes) <= MOST_BYTES;
        if !room && self.events > 0 {
            return false;
        }
        self.events += 1;
        self.bytes = self.bytes.saturating_add(bytes);
        self.items.push_back(Item::Event { event: event.clone(), bytes });
        true
    }

    /// Proof that the bus is up until then, if anybody asks for it.
    pub(super) fn prove(&mut self, until: Timestamp) {
        if self.deadline.is_none() {
            return;
        }
        match self.items.back_mut() {
            Some(Item::Proof(then)) => *then = until,
            _ => self.items.push_back(Item::Proof(until)),
        }
    }

    /// What is still to be heard was heard in time, and proves nothing any more.
    pub(super) fn lose(&mut self) {
        self.end_trust();
        self.items.retain(|item| matches!(item, Item::Event { .. }));
    }

    /// Something was missed: what waits gives way to `Disconnected` and `Connected`.
    pub(super) fn start_over(&mut self, connected: bool, proven: Option<Timestamp>) {
        self.end_trust();
        self.items.clear();
        (self.events, self.bytes) = (0, 0);
        // What it last heard decides what it is to hear.
        if self.trusts {
            self.push(&BusEvent::Disconnected);
        }
        if connected {
            self.push(&BusEvent::Connected);
            proven.into_iter().for_each(|until| self.prove(until));
        }
    }

    /// Nothing comes after what waits.
    pub(super) fn end(&mut self) {
        self.end_trust();
        self.ended = true;
    }

    pub(super) fn take_waker(&mut self) -> Option<Waker> {
        self.waker.take()
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<BusEvent>> {
        loop {
            match self.items.pop_front() {
                Some(Item::Event { event, bytes }) => {
                    self.events -= 1;
                    self.bytes -= bytes;
                    match event {
                        BusEvent::Connected => self.trusts = true,
                        BusEvent::Disconnected => self.trusts = false,
                        _ => {}
                    }
                    return Poll::Ready(Some(event));
                }
                Some(Item::Proof(until)) => {
                    if let Some(deadline) = &self.deadline {
                        deadline.set(until);
                    }
                }
                None if self.ended => return Poll::Ready(None),
                None => {
                    self.waker = Some(cx.waker().clone());
                    return Poll::Pending;
                }
            }
        }
    }

    fn end_trust(&self) {
        self.deadline.iter().for_each(BusDeadline::end);
    }
}

/// About how much memory an event takes.
fn bytes(event: &BusEvent) -> usize {
    let keys = |keys: &[String]| size_of_val(keys) + keys.iter().map(String::len).sum::<usize>();
    size_of::<Item>()
        + match event {
            BusEvent::Removed(Selector::Keys(removed)) => keys(removed),
            BusEvent::Removed(Selector::Prefix(prefix)) => prefix.len(),
            BusEvent::Filled(filled) => keys(filled),
            _ => 0,
        }
}
