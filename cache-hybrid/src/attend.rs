//! The tasks that a store has for as long as it is there: one listens to the bus, one tells of writes
//! that were gathered, one tries again what has failed. None waits for another: what the bus says
//! counts at once, however slow the far tier is.
//!
//! Each holds the store weakly while it waits, and is aborted with it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use cache_core::{BoxStream, BusEvent, CacheError, ErrorKind, Selector, Timestamp, check_key};
use futures_util::{FutureExt, StreamExt, stream};
use tokio::runtime::Handle;

use crate::inner::Inner;
use crate::replay::{Kind, Owed};
use crate::stats::bump;
use crate::teller::{Gathered, NET};

/// Between two attempts.
const RETRY: Duration = Duration::from_millis(250);

/// Starts those that there is something to do for.
pub(crate) fn start(inner: &Arc<Inner>) -> Result<(), CacheError> {
    if inner.bus.is_none() && inner.far.is_none() {
        return Ok(());
    }
    let runtime = Handle::try_current().map_err(|error| {
        let message = "a cache with a far tier or a bus needs a tokio runtime: build it in one";
        CacheError::new(ErrorKind::Config, message).with_source(error)
    })?;
    let runtime = inner.runtime.get_or_init(|| runtime);
    let mut tasks = inner.tasks.lock();
    tasks.push(runtime.spawn(retry(Arc::downgrade(inner))).abort_handle());
    if let Some(bus) = &inner.bus {
        let events = bus.subscribe_until(inner.trust.proven());
        tasks.push(runtime.spawn(listen(Arc::downgrade(inner), events)).abort_handle());
        tasks.push(runtime.spawn(tell(Arc::downgrade(inner))).abort_handle());
    }
    Ok(())
}

async fn listen(weak: Weak<Inner>, mut events: BoxStream<'static, BusEvent>) {
    let mut listening = Listening(weak.clone());
    let (mut next, mut looked) = (None, Timestamp::ZERO);
    loop {
        let event = match next.take() {
            Some(event) => event,
            None => {
                let Some(inner) = weak.upgrade() else { return };
                let (clock, look) = inner.trust.look_again(looked);
                // So that waiting does not keep the store alive.
                drop(inner);
                tokio::select! {
                    biased;
                    event = events.next() => event,
                    () = clock.sleep_until(look) => {
                        let Some(inner) = weak.upgrade() else { return };
                        looked = inner.clock.now();
                        inner.detach_unless_trusted();
                        continue;
                    }
                }
            }
        };
        let Some(inner) = weak.upgrade() else { return };
        match event {
            Some(BusEvent::Disconnected) => {
                let was_up = inner.trust.lose();
                inner.detach_unless_trusted();
                next = events.next().now_or_never();
                match next {
                    Some(Some(BusEvent::Connected)) if was_up => {
                        next = None;
                        inner.missed_some().await;
                    }
                    _ if was_up => inner.lost(),
                    _ => {}
                }
            }
            Some(event) => inner.heard(event).await,
            None => {
                listening.0 = Weak::new();
                if inner.trust.lose() {
                    inner.lost();
                }
                inner.detach_unless_trusted();
                // It is lost for good, and who loads meanwhile is not joined for ever either.
                events = stream::pending().boxed();
            }
        }
    }
}

/// Held by the task that listens. If it ends before its stream, by a panic or with its runtime,
/// nobody hears of removals any more.
struct Listening(Weak<Inner>);

impl Drop for Listening {
    fn drop(&mut self) {
        if let Some(inner) = self.0.upgrade() {
            inner.trust.revoke();
            tracing::warn!("nobody listens to the bus any more: the near tier is not served");
        }
    }
}

async fn tell(weak: Weak<Inner>) {
    loop {
        let Some(inner) = weak.upgrade() else { return };
        let (clock, added, due) = (inner.clock.clone(), inner.teller.added(), inner.teller.due());
        // So that waiting does not keep the store alive.
        drop(inner);
        let in_time = match due {
            // Who wrote waits, also by a clock that nobody moves.
            Some(due) => tokio::time::timeout(NET, clock.sleep_until(due)).await.is_ok(),
            None => {
                added.notified().await;
                true
            }
        };
        let Some(inner) = weak.upgrade() else { return };
        let gathered = if in_time { inner.teller.take() } else { inner.teller.take_all() };
        if let Some(gathered) = gathered {
            inner.tell_gathered(gathered).await;
        }
    }
}

/// Tries again what has failed, for as long as something is owed.
async fn retry(weak: Weak<Inner>) {
    loop {
        let Some(inner) = weak.upgrade() else { return };
        let (clock, owed) = (inner.clock.clone(), Arc::clone(&inner.owed));
        let idle = inner.missed.len() + inner.untold.len() == 0 && inner.unused.is_empty();
        drop(inner);
        if idle {
            owed.notified().await;
        }
        clock.sleep(RETRY).await;
        let Some(inner) = weak.upgrade() else { return };
        if !inner.far_breaker.refuses() {
            let due =
                |kind: &Kind| inner.missed.owed_of(*kind) != Owed::Nothing && !inner.rests(*kind);
            Kind::BOTH.into_iter().filter(due).for_each(|kind| {
                inner.begin_replay(kind);
            });
        }
        let _ = inner.told().await;
        inner.give_back().await;
    }
}

/// What is being told. Dropped before that is done, it is owed.
struct Untold<'a> {
    inner: &'a Inner,
    what: Option<&'a Selector>,
}

impl Drop for Untold<'_> {
    fn drop(&mut self) {
        if let Some(what) = self.what {
            self.inner.owe_bus(what);
        }
    }
}

impl Inner {
    /// Tells of writes that were gathered. They are owed if that fails, or if this future is dropped.
    pub(crate) async fn tell_gathered(&self, mut gathered: Gathered) {
        let what = Selector::Keys(std::mem::take(&mut gathered.keys));
        let mut untold = Untold { inner: self, what: Some(&what) };
        let told = self.tell(&what).await;
        if told.is_ok() {
            untold.what = None;
        }
        drop(untold);
        gathered.told(told);
    }

    async fn heard(&self, event: BusEvent) {
        match event {
            BusEvent::Removed(what) => {
                let _ = self.heard_removed(what).await;
                // Once it is done: whoever reads this count finds nothing older.
                bump(&self.counters.heard);
            }
            BusEvent::Filled(keys) => self.waiters.wake(&Selector::Keys(keys)),
            BusEvent::Connected => {
                // Whatever was missed before: nothing is kept, and no load that began before is
                // joined. Only then is the near tier trusted.
                if self.heard_removed(Selector::All).await && self.trust.gain() {
                    tracing::info!("the bus is up: a near tier may be served");
                }
            }
            // Any other is a later version's, and may mean anything.
            _ => drop(self.heard_removed(Selector::All).await),
        }
    }

    /// False if the near tier may still hold what was removed: it is not served then, until the
    /// bus, when it connects anew, has it emptied.
    async fn heard_removed(&self, mut what: Selector) -> bool {
        if let Selector::Keys(keys) = &mut what {
            keys.retain(|key| check_key(key).is_ok());
        }
        let removed = self.near_remove(&what).await;
        if let Err(error) = &removed {
            tracing::error!(%error, "the near tier did not remove: it is not served any more");
            self.trust.revoke();
        }
        self.detach(&what);
        removed.is_ok()
    }

    /// The bus is up and has missed something: what it says in one breath as a loss and its end.
    async fn missed_some(&self) {
        tracing::debug!("the bus has missed messages: nothing that is held near counts");
        if self.heard_removed(Selector::All).await {
            self.trust.gain();
        }
    }

    /// While the bus is lost nobody tells of removals: no load is joined any more that has begun by now,
    /// as no near hit is served. That ends none of them: whoever is next finds its lease in the far tier
    /// and waits for it there, unless the key was removed, and the lease with it.
    fn detach_unless_trusted(&self) {
        if !self.trust.serves() {
            self.listeners.read().iter().for_each(|listener| listener(&Selector::All));
        }
    }

    /// The bus was up before.
    fn lost(&self) {
        let grace = self.terms.grace;
        bump(&self.counters.bus_losses);
        tracing::warn!(?grace, "the bus is lost: a near tier is not served, but for a grace");
    }
}
