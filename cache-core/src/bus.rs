//! How nodes tell each other what was removed.

use std::any::Any;
use std::fmt;

use async_trait::async_trait;
use futures_core::stream::BoxStream;

use crate::{CacheError, Selector};

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

    /// The bus as what it is. With it a store of the same backend recognises its own bus, so that
    /// a removal and its publication travel together; see
    /// [`CacheStore::remove_and_tell`](crate::CacheStore::remove_and_tell). A bus that no store
    /// knows says `None`.
    fn as_any(&self) -> Option<&dyn Any> {
        None
    }
}
