//! How nodes tell each other what was removed.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_core::stream::BoxStream;

use crate::{CacheError, Clock, Selector, Timestamp};

/// What a subscriber hears.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BusEvent {
    /// Another node removed or overwrote these.
    Removed(Selector),
    /// A load that others waited for has stored these keys, or was given up: whoever waits looks
    /// again. Nothing was removed.
    Filled(Vec<String>),
    /// The subscription is confirmed. What was missed before is unknown: whoever keeps entries
    /// empties them, then trusts the bus again.
    Connected,
    /// The subscription is lost: from here on removals may be missed.
    Disconnected,
}

/// Carries removals between the nodes of a fleet.
///
/// *Behaviour*
/// - A subscriber hears of the removals that other nodes publish while it is connected, at least
///   once each, those of one node in order; it does not hear of its own.
/// - The stream begins with [`BusEvent::Connected`] once the subscription is confirmed, and never
///   ends while the bus lives.
/// - A lost connection is reported as [`BusEvent::Disconnected`] within the bus's stated bound.
/// - A subscriber that falls behind loses no removal unawares: what it missed is told as
///   [`BusEvent::Disconnected`], then [`BusEvent::Connected`].
///
/// # Cancel safety
///
/// A dropped `publish` may or may not have reached the other nodes. A dropped stream unsubscribes.
#[async_trait]
pub trait InvalidationBus: fmt::Debug + Send + Sync + 'static {
    /// Tells the other nodes.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](crate::ErrorKind::Unavailable) or [`Timeout`](crate::ErrorKind::Timeout) if
    /// the bus could not take it.
    async fn publish(&self, what: &Selector) -> Result<(), CacheError>;

    /// What other nodes publish from now on.
    fn subscribe(&self) -> BoxStream<'static, BusEvent>;

    /// As [`subscribe`](Self::subscribe), and the bus sets `deadline` as often as it has proof that
    /// it is up; it ends it as soon as the bus is lost, whatever is still in the stream. Whoever
    /// keeps entries serves them no longer: an event that nobody handles, because the process was
    /// frozen or the task has ended, takes no trust away, and a deadline does.
    ///
    /// A proof counts when everything has been taken from the stream that came before it, and the
    /// next thing is asked for. A bus that has no proof to give leaves `deadline` alone, which then
    /// never passes.
    fn subscribe_until(&self, deadline: &BusDeadline) -> BoxStream<'static, BusEvent> {
        let _ = deadline;
        self.subscribe()
    }

    /// The bus as what it is. With it a store of the same backend recognises its own bus, so that
    /// a removal and its publication travel together; see
    /// [`CacheStore::remove_and_tell`](crate::CacheStore::remove_and_tell). A bus that no store
    /// knows says `None`.
    fn as_any(&self) -> Option<&dyn Any> {
        None
    }
}

/// Until when a bus is known to be up, by the [system's clock](Clock::system). It never passes
/// until a bus sets it. Clones are handles to the same deadline.
///
/// ```
/// use cache_core::{BusDeadline, Clock};
/// use std::time::Duration;
///
/// let deadline = BusDeadline::new();
/// assert!(deadline.is_ahead());
/// let minute = Clock::system().now() + Duration::from_secs(60);
/// deadline.set(minute);
/// assert!(deadline.is_ahead() && deadline.get() == minute);
/// deadline.end();
/// assert!(!deadline.is_ahead() && deadline.is_within(Duration::from_secs(60)));
/// ```
#[derive(Clone, Debug)]
pub struct BusDeadline(Arc<Until>);

#[derive(Debug)]
struct Until {
    /// Microseconds; 0 once ended.
    until: AtomicU64,
    /// When it was over that was ended last.
    ended: AtomicU64,
}

impl BusDeadline {
    /// One that never passes.
    #[must_use]
    pub fn new() -> Self {
        let never = || AtomicU64::new(Timestamp::MAX.as_micros());
        Self(Arc::new(Until { until: never(), ended: never() }))
    }

    /// The bus is known to be up until then.
    pub fn set(&self, until: Timestamp) {
        self.0.until.store(until.as_micros(), Ordering::Release);
    }

    /// The bus is lost: it passes now, unless it has passed before.
    pub fn end(&self) {
        let Until { until, ended } = &*self.0;
        let now = Clock::system().now().as_micros();
        match until.load(Ordering::Acquire) {
            0 => {}
            then => {
                // In this order: whoever finds it ended finds when.
                ended.store(then.min(now), Ordering::Release);
                until.store(0, Ordering::Release);
            }
        }
    }

    /// Whether it lies ahead. Decided on the cheap clock, a few milliseconds late at most: every
    /// near hit asks.
    #[must_use]
    #[inline]
    pub fn is_ahead(&self) -> bool {
        let until = self.0.until.load(Ordering::Acquire);
        until == Timestamp::MAX.as_micros()
            || Clock::system().coarse_now() < Timestamp::from_micros(until)
    }

    /// When it passes: [`Timestamp::MAX`] if never, and long ago once it was ended.
    #[must_use]
    #[inline]
    pub fn get(&self) -> Timestamp {
        Timestamp::from_micros(self.0.until.load(Ordering::Acquire))
    }

    /// Whether it lies ahead or has passed less than `grace` ago.
    #[must_use]
    pub fn is_within(&self, grace: Duration) -> bool {
        let over = match self.0.until.load(Ordering::Acquire) {
            0 => self.0.ended.load(Ordering::Acquire),
            until => until,
        };
        Clock::system().now() < Timestamp::from_micros(over) + grace
    }
}

impl Default for BusDeadline {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_passes_with_time_or_at_once() {
        let (deadline, now) = (BusDeadline::new(), Clock::system().now());
        let second = Duration::from_secs(1);
        deadline.set(now + Duration::from_secs(60));
        assert!(deadline.is_ahead() && deadline.is_within(Duration::ZERO));
        deadline.set(now - second);
        assert!(!deadline.is_ahead() && !deadline.is_within(second));
        assert!(deadline.is_within(Duration::from_secs(60)));
        // What has passed does not pass anew: no grace is prolonged.
        deadline.end();
        deadline.end();
        assert!(!deadline.is_ahead() && !deadline.is_within(second));
        deadline.set(now + Duration::from_secs(60));
        let handle = deadline.clone();
        handle.end();
        assert!(!deadline.is_ahead() && deadline.is_within(second));
        deadline.set(Timestamp::MAX);
        assert!(deadline.is_ahead());
    }
}
