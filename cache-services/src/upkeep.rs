//! Frees what has expired and nobody reads any more, in a process that writes little, too.
//!
//! The stores do it themselves with writes and missed reads. A task does the rest: [`PARTS`] steps of
//! some microseconds each, [`PAUSE`] apart. It ends when nobody uses the cache any more, or with the
//! runtime that it was begun on; then it is begun anew where the services are asked for the cache.

use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use cache_core::{CacheStore, ReadThrough};
use cache_moka::MokaStore;
use cache_quick::QuickStore;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::sleep;

use crate::parts::{Cache, Near};

/// Between two steps.
const PAUSE: Duration = Duration::from_millis(250);
/// Steps that see to all entries.
const PARTS: usize = 8;

/// A store that can be swept in parts.
trait Sweep: Send + Sync + 'static {
    fn sweep_part(&self, parts: usize) -> usize;
}

impl Sweep for QuickStore {
    fn sweep_part(&self, parts: usize) -> usize {
        Self::sweep_part(self, parts)
    }
}

impl Sweep for MokaStore {
    fn sweep_part(&self, parts: usize) -> usize {
        Self::sweep_part(self, parts)
    }
}

/// The task.
#[derive(Clone, Debug, Default)]
pub(crate) struct Upkeep(Arc<Mutex<Option<AbortHandle>>>);

impl Upkeep {
    /// Has it run for what `cache` holds in the process, unless it does: on the caller's runtime.
    pub(crate) fn ensure(&self, cache: &Cache) {
        // If it is locked somebody else sees to it at this moment.
        let Ok(mut task) = self.0.try_lock() else { return };
        if task.as_ref().is_none_or(AbortHandle::is_finished) {
            *task = start(cache);
        }
    }
}

/// `None`: outside a runtime, or where nothing is held in the process.
fn start(cache: &Cache) -> Option<AbortHandle> {
    let runtime = Handle::try_current().ok()?;
    let task = match cache {
        Cache::Quick(cache) => runtime.spawn(while_shared(cache.engine().clone())),
        Cache::Moka(cache) => runtime.spawn(while_shared(cache.engine().clone())),
        Cache::Hybrid(_, Near::Quick(store)) => runtime.spawn(while_there(Arc::downgrade(store))),
        Cache::Hybrid(_, Near::Moka(store)) => runtime.spawn(while_there(Arc::downgrade(store))),
        Cache::Hybrid(_, Near::None) => return None,
    };
    Some(task.abort_handle())
}

async fn while_shared<S: CacheStore + Sweep>(engine: ReadThrough<S>) {
    while engine.is_shared() {
        engine.inner().sweep_part(PARTS);
        sleep(PAUSE).await;
    }
}

async fn while_there(store: Weak<impl Sweep>) {
    while let Some(store) = store.upgrade() {
        store.sweep_part(PARTS);
        drop(store);
        sleep(PAUSE).await;
    }
}
