//! A bus whose traffic is recorded.

use std::sync::Arc;

use async_trait::async_trait;
use cache_core::{BusDeadline, BusEvent, CacheError, InvalidationBus, Selector};
use futures_core::stream::BoxStream;
use futures_util::{StreamExt, stream};

use super::record::Action;
use super::recorder::{Begun, Recorder};

/// Records what a node publishes and hears.
#[derive(Debug)]
pub(super) struct RecordedBus {
    recorder: Recorder,
    node: usize,
    inner: Arc<dyn InvalidationBus>,
}

impl RecordedBus {
    pub(super) fn new(recorder: Recorder, node: usize, inner: Arc<dyn InvalidationBus>) -> Self {
        Self { recorder, node, inner }
    }

    fn record(&self, inner: BoxStream<'static, BusEvent>) -> BoxStream<'static, BusEvent> {
        let (recorder, node) = (self.recorder.clone(), self.node);
        recorder.listens(node, |ear| ear.live += 1);
        let subscription = Subscription { recorder, node, inner, at_work: None };
        Box::pin(stream::unfold(subscription, |mut subscription| async move {
            Some((subscription.next().await?, subscription))
        }))
    }
}

#[async_trait]
impl InvalidationBus for RecordedBus {
    async fn publish(&self, what: &Selector) -> Result<(), CacheError> {
        let begun = self.recorder.begin(self.node, Action::Publish(what.clone()));
        self.inner.publish(what).await.inspect(|()| begun.end())
    }

    fn subscribe(&self) -> BoxStream<'static, BusEvent> {
        self.record(self.inner.subscribe())
    }

    fn subscribe_until(&self, deadline: &BusDeadline) -> BoxStream<'static, BusEvent> {
        self.record(self.inner.subscribe_until(deadline))
    }
}

struct Subscription {
    recorder: Recorder,
    node: usize,
    inner: BoxStream<'static, BusEvent>,
    /// The event that was handed over last: the node deals with it until it asks for the next.
    at_work: Option<Begun>,
}

impl Subscription {
    async fn next(&mut self) -> Option<BusEvent> {
        self.deal_with();
        let event = self.inner.next().await?;
        self.at_work = Some(self.recorder.begin(self.node, Action::Deliver(event.clone())));
        self.recorder.listens(self.node, |ear| ear.at_work += 1);
        Some(event)
    }

    fn deal_with(&mut self) {
        if let Some(dealt_with) = self.at_work.take() {
            dealt_with.end();
            self.recorder.listens(self.node, |ear| ear.at_work -= 1);
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        // What it was at work on stays of unknown end.
        let left = usize::from(self.at_work.is_some());
        self.recorder.listens(self.node, |ear| {
            ear.live -= 1;
            ear.at_work -= left;
        });
    }
}
