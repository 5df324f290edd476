//! The task that listens to the bus, tells of writes that were gathered, and replays.
//!
//! It ends with the store: it holds it weakly, and is aborted with it.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use cache_core::{BoxStream, BusEvent, CacheError, ErrorKind, Selector, Timestamp, check_key};
use futures_util::StreamExt;
use tokio::runtime::Handle;

use crate::inner::Inner;
use crate::stats::bump;

/// Between attempts to replay.
const RETRY: Duration = Duration::from_millis(250);

/// Starts it, if there is something to attend to.
pub(crate) fn start(inner: &Arc<Inner>) -> Result<(), CacheError> {
    if inner.bus.is_none() && inner.far.is_none() {
        return Ok(());
    }
    let runtime = Handle::try_current().map_err(|error| {
        let message = "a cache with a far tier or a bus needs a tokio runtime: build it in one";
        CacheError::new(ErrorKind::Config, message).with_source(error)
    })?;
    let events = inner.bus.as_ref().map(|bus| bus.subscribe());
    let task = runtime.spawn(attend(Arc::downgrade(inner), events));
    *inner.attendant.lock() = Some(task.abort_handle());
    Ok(())
}

async fn attend(weak: Weak<Inner>, mut events: Option<BoxStream<'static, BusEvent>>) {
    let mut retry_at = None::<Timestamp>;
    loop {
        let Some(inner) = weak.upgrade() else { return };
        let (clock, work) = (inner.clock.clone(), Arc::clone(&inner.work));
        if inner.missed.len() + inner.untold.len() > 0 {
            retry_at.get_or_insert_with(|| clock.now() + RETRY);
        }
        let wake = [inner.teller.due(), retry_at].into_iter().flatten().min();
        // So that waiting does not keep the store alive.
        drop(inner);
        let event = tokio::select! {
            event = next(&mut events) => Some(event),
            () = work.notified() => None,
            () = clock.sleep_until(wake.unwrap_or(Timestamp::MAX)), if wake.is_some() => None,
        };
        let Some(inner) = weak.upgrade() else { return };
        match event {
            Some(Some(event)) => inner.heard(event).await,
            Some(None) => {
                events = None;
                inner.heard(BusEvent::Disconnected).await;
            }
            None => {}
        }
        if let Some(keys) = inner.teller.take() {
            // What could not be told is owed, and tried again below.
            let _ = inner.tell_or_owe(&Selector::Keys(keys)).await;
        }
        if retry_at.is_some_and(|at| clock.now() >= at) {
            retry_at = None;
            // Again and again, as long as something is owed.
            let _ = inner.replayed().await;
            let _ = inner.told().await;
        }
    }
}

async fn next(events: &mut Option<BoxStream<'static, BusEvent>>) -> Option<BusEvent> {
    match events {
        Some(events) => events.next().await,
        None => std::future::pending().await,
    }
}

impl Inner {
    async fn heard(&self, event: BusEvent) {
        match event {
            BusEvent::Removed(what) => {
                bump(&self.counters.heard);
                self.heard_removed(what).await;
            }
            BusEvent::Filled(keys) => self.waiters.wake(&Selector::Keys(keys)),
            BusEvent::Connected => {
                // Whatever was missed before: nothing is kept, and no load that began before is
                // joined. Only then is the near tier trusted.
                self.heard_removed(Selector::All).await;
                if self.trust.gain() {
                    tracing::info!("the bus is up: the near tier is served");
                }
            }
            BusEvent::Disconnected => self.lost(),
            // A later version's event may mean anything.
            _ => self.heard_removed(Selector::All).await,
        }
    }

    async fn heard_removed(&self, mut what: Selector) {
        if let Selector::Keys(keys) = &mut what {
            keys.retain(|key| check_key(key).is_ok());
        }
        if let Err(error) = self.near_remove(&what).await {
            // It may hold what was removed elsewhere, so it is not served until the bus, when it
            // connects anew, has it emptied.
            tracing::error!(%error, "the near tier did not remove: it is not served any more");
            self.trust.lose(Duration::ZERO);
        }
        self.detach(&what);
        self.waiters.wake(&what);
    }

    fn lost(&self) {
        let grace = self.terms.grace;
        if self.trust.lose(grace) {
            self.counters.bus_losses.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(?grace, "the bus is lost: the near tier is not served, but for a grace");
        }
    }
}
