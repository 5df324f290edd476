//! The task of a bus: subscribe, watch, subscribe anew. It ends with the bus.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cache_core::CacheError;
use parking_lot::Mutex;
use redis::{PushInfo, PushKind, Value};
use tokio::time::{Instant, sleep};

use super::hub::Hub;
use super::message::{Heard, Sender, read};
use crate::connection::{Backoff, Feed};

const BETWEEN_LINES: Duration = Duration::from_secs(1);

/// What the task and the bus share.
#[derive(Debug)]
pub(super) struct Ear {
    pub(super) feed: Feed,
    pub(super) channel: String,
    pub(super) sender: Sender,
    pub(super) hub: Arc<Hub>,
    pub(super) received: AtomicU64,
    pub(super) own: AtomicU64,
    pub(super) unreadable: AtomicU64,
    pub(super) last_fault: Mutex<Option<String>>,
    log: Mutex<Log>,
}

/// What was said last. Every change is one line, at most one a second; what was left out is counted
/// in the next.
#[derive(Debug, Default)]
struct Log {
    said: Option<bool>,
    at: Option<Instant>,
    left_out: u32,
}

impl Ear {
    pub(super) fn new(feed: Feed, channel: String, sender: Sender) -> Self {
        Self {
            feed,
            channel,
            sender,
            hub: Arc::default(),
            received: AtomicU64::new(0),
            own: AtomicU64::new(0),
            unreadable: AtomicU64::new(0),
            last_fault: Mutex::default(),
            log: Mutex::default(),
        }
    }

    /// Listens until the connections are shut down.
    pub(super) async fn listen(self: Arc<Self>) {
        tokio::select! {
            () = self.feed.until_closed() => {}
            () = self.subscribe_for_ever() => {}
        }
        self.hub.lost();
    }

    async fn subscribe_for_ever(self: &Arc<Self>) {
        let mut backoff = Backoff::new();
        loop {
            let pushes = || {
                let (ear, number) = (Arc::clone(self), self.hub.begin());
                move |push| {
                    ear.push(number, push);
                    Ok::<_, ()>(())
                }
            };
            let born = Instant::now();
            match self.feed.subscribe(&self.channel, pushes).await {
                Err(fault) => self.lost(&fault),
                Ok(mut subscribed) => {
                    let fault = self.feed.watch(&mut subscribed, || self.say(true, None)).await;
                    drop(subscribed);
                    self.lost(&fault);
                    if born.elapsed() > Duration::from_secs(1) {
                        backoff.reset();
                    }
                }
            }
            sleep(backoff.next()).await;
        }
    }

    fn lost(&self, fault: &CacheError) {
        // First, so that whoever hears of the loss finds its reason.
        *self.last_fault.lock() = Some(fault.to_string());
        self.hub.lost();
        self.say(false, Some(fault));
    }

    /// What the server says unasked, in order.
    fn push(&self, number: u64, PushInfo { kind, data }: PushInfo) {
        match (kind, data.as_slice()) {
            (PushKind::Subscribe, _) if self.hub.confirmed(number) => self.say(true, None),
            (PushKind::Message, [_, Value::BulkString(bytes)]) => match read(self.sender, bytes) {
                Heard::Event(event) => {
                    self.received.fetch_add(1, Ordering::Relaxed);
                    self.hub.heard(number, &event);
                }
                Heard::Own => {
                    self.own.fetch_add(1, Ordering::Relaxed);
                }
                Heard::Unreadable(why) => {
                    self.unreadable.fetch_add(1, Ordering::Relaxed);
                    let (channel, bytes) = (&self.channel, bytes.len());
                    tracing::debug!(%channel, bytes, why, "a message was not understood");
                }
            },
            _ => {}
        }
    }

    /// Says whether removals are heard, if that is news and a line is due.
    fn say(&self, up: bool, fault: Option<&CacheError>) {
        let mut log = self.log.lock();
        if log.said == Some(up) {
            return;
        }
        if log.at.is_some_and(|at| at.elapsed() < BETWEEN_LINES) {
            log.left_out += 1;
            return;
        }
        let left_out = std::mem::take(&mut log.left_out);
        (log.said, log.at) = (Some(up), Some(Instant::now()));
        drop(log);
        let (redis, channel) = (self.feed.address(), &self.channel);
        if up {
            tracing::info!(%redis, %channel, left_out, "removals by other nodes are heard");
        } else {
            let why = fault.map(ToString::to_string).unwrap_or_default();
            tracing::warn!(%redis, %channel, left_out, why, "removals by other nodes are not heard");
        }
    }
}
