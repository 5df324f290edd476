//! The task of a subscription: subscribe, watch, subscribe anew.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use cache_core::{CacheError, Timestamp};
use parking_lot::Mutex;
use redis::{PushInfo, PushKind, Value};
use tokio::time::{Instant, sleep};

use crate::connection::{Backoff, Feed};

const BETWEEN_LINES: Duration = Duration::from_secs(1);

/// Who is told what is heard. All of it is called in the connection's task, in the order in which
/// the server said it.
///
/// A subscription has a number, so that what belongs to one that was lost can be told.
pub(crate) trait Hears: Send + Sync + 'static {
    /// What is not heard when the subscription is lost, for the log.
    const WHAT: &'static str;

    /// A subscription is being made: its number. Whatever was before is lost.
    fn begin(&self) -> u64;
    /// The server has confirmed it. False if it is not the one that counts.
    fn confirmed(&self, number: u64) -> bool;
    /// Somebody has published this.
    fn message(&self, number: u64, bytes: &[u8]);
    /// What was published before then has been handed to [`message`](Self::message) by now, if it
    /// was published on the node that is listened to.
    fn up_to(&self, _number: u64, _then: Timestamp) {}
    /// The subscription is lost, if it was confirmed at all.
    fn lost(&self);
}

/// What the task and its owner share.
#[derive(Debug)]
pub(crate) struct Listening<H> {
    feed: Feed,
    channel: String,
    hears: Arc<H>,
    last_fault: Mutex<Option<String>>,
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

impl<H: Hears> Listening<H> {
    pub(crate) fn new(feed: Feed, channel: String, hears: Arc<H>) -> Self {
        Self { feed, channel, hears, last_fault: Mutex::default(), log: Mutex::default() }
    }

    pub(crate) fn channel(&self) -> &str {
        &self.channel
    }

    /// Why the last attempt to subscribe failed, or the last subscription was lost.
    pub(crate) fn last_fault(&self) -> Option<String> {
        self.last_fault.lock().clone()
    }

    /// Listens until the connections are shut down.
    pub(crate) async fn listen(self: Arc<Self>) {
        tokio::select! {
            () = self.feed.until_closed() => {}
            () = self.subscribe_for_ever() => {}
        }
        self.hears.lost();
    }

    async fn subscribe_for_ever(self: &Arc<Self>) {
        let (mut backoff, current) = (Backoff::new(), AtomicU64::new(0));
        loop {
            let pushes = || {
                let (this, number) = (Arc::clone(self), self.hears.begin());
                current.store(number, Relaxed);
                move |push| {
                    this.push(number, push);
                    Ok::<_, ()>(())
                }
            };
            let born = Instant::now();
            match self.feed.subscribe(&self.channel, pushes).await {
                Err(fault) => self.lost(&fault),
                Ok(mut subscribed) => {
                    let answered = |asked| {
                        self.hears.up_to(current.load(Relaxed), asked);
                        self.say(true, None);
                    };
                    let fault = self.feed.watch(&mut subscribed, answered).await;
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
        self.hears.lost();
        self.say(false, Some(fault));
    }

    /// What the server says unasked, in order.
    fn push(&self, number: u64, PushInfo { kind, data }: PushInfo) {
        match (kind, data.as_slice()) {
            (PushKind::Subscribe, _) if self.hears.confirmed(number) => self.say(true, None),
            (PushKind::Message, [_, Value::BulkString(bytes)]) => {
                self.hears.message(number, bytes);
            }
            _ => {}
        }
    }

    /// Says whether messages are heard, if that is news and a line is due.
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
        let (redis, channel, what) = (self.feed.address(), &self.channel, H::WHAT);
        if up {
            tracing::info!(%redis, %channel, left_out, "{what} are heard");
        } else {
            let why = fault.map(ToString::to_string).unwrap_or_default();
            tracing::warn!(%redis, %channel, left_out, why, "{what} are not heard");
        }
    }
}
