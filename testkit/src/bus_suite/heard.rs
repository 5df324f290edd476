//! A subscription, as the behaviours listen to it.

use std::time::Duration;

use cache_core::{BusEvent, InvalidationBus, Selector};
use futures_core::stream::BoxStream;
use futures_util::StreamExt;

/// How long to wait for what must come: far longer than it takes.
const PATIENCE: Duration = Duration::from_secs(10);

/// A subscription that is confirmed.
pub(super) struct Heard {
    events: BoxStream<'static, BusEvent>,
    /// What was told of the connection since, that it was lost.
    pub(super) losses: usize,
}

impl Heard {
    /// Subscribes and waits until that is confirmed.
    pub(super) async fn by(bus: &dyn InvalidationBus) -> Self {
        Self::begin(bus.subscribe()).await
    }

    pub(super) async fn begin(events: BoxStream<'static, BusEvent>) -> Self {
        let mut own = Self { events, losses: 0 };
        let first = own.event().await;
        assert_eq!(first, BusEvent::Connected, "a subscription begins with something else");
        own
    }

    /// The next event.
    pub(super) async fn event(&mut self) -> BusEvent {
        self.event_within(PATIENCE).await
    }

    pub(super) async fn event_within(&mut self, patience: Duration) -> BusEvent {
        let event = tokio::time::timeout(patience, self.events.next()).await;
        let event = event.unwrap_or_else(|_| panic!("nothing was heard for {patience:?}"));
        event.expect("the stream ended although the bus is there")
    }

    /// Whether something is there to be heard at once.
    pub(super) fn is_silent(&mut self) -> bool {
        crate::poll_once(&mut self.events.next()).is_pending()
    }

    /// What is heard up to `last`, that included: single keys, prefixes and all, each when it was heard
    /// first. A list of keys may come in parts, and anything more than once.
    pub(super) async fn up_to(&mut self, last: &Selector) -> Vec<Selector> {
        let mut heard = Vec::new();
        while heard.last() != Some(last) {
            match self.event().await {
                BusEvent::Removed(Selector::Keys(keys)) => {
                    keys.into_iter().map(Selector::key).for_each(|key| first(&mut heard, key));
                }
                BusEvent::Removed(what) => first(&mut heard, what),
                BusEvent::Disconnected => self.losses += 1,
                _ => {}
            }
        }
        heard
    }
}

fn first(heard: &mut Vec<Selector>, what: Selector) {
    if !heard.contains(&what) {
        heard.push(what);
    }
}
