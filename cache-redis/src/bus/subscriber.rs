//! What a bus hears, made into events.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::hub::Hub;
use super::message::{Heard, Sender, read};
use crate::channel::Hears;

/// What the task that listens and the bus share.
#[derive(Debug)]
pub(super) struct Ear {
    pub(super) sender: Sender,
    pub(super) hub: Arc<Hub>,
    pub(super) received: AtomicU64,
    pub(super) own: AtomicU64,
    pub(super) unreadable: AtomicU64,
}

impl Ear {
    pub(super) fn new(sender: Sender) -> Self {
        Self {
            sender,
            hub: Arc::default(),
            received: AtomicU64::new(0),
            own: AtomicU64::new(0),
            unreadable: AtomicU64::new(0),
        }
    }
}

impl Hears for Ear {
    const WHAT: &'static str = "removals by other nodes";

    fn begin(&self) -> u64 {
        self.hub.begin()
    }

    fn confirmed(&self, number: u64) -> bool {
        self.hub.confirmed(number)
    }

    fn message(&self, number: u64, bytes: &[u8]) {
        match read(self.sender, bytes) {
            Heard::Event(event) => {
                self.received.fetch_add(1, Ordering::Relaxed);
                self.hub.heard(number, &event);
            }
            Heard::Own => {
                self.own.fetch_add(1, Ordering::Relaxed);
            }
            Heard::Unreadable(why) => {
                self.unreadable.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(bytes = bytes.len(), why, "a message was not understood");
            }
        }
    }

    fn lost(&self) {
        self.hub.lost();
    }
}
