//! Frees what has expired and nobody reads any more, in a process that writes little, too.
//!
//! The stores do it themselves with writes and missed reads. A task does the rest: [`PARTS`] steps of
//! some microseconds each, [`PAUSE`] apart. It ends when nobody uses the cache any more.

use std::sync::{Arc, Weak};
use std::time::Duration;

use cache_core::{CacheStore, ReadThrough};
use cache_moka::MokaStore;
use cache_quick::QuickStore;
use tokio::runtime::Handle;
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

/// Starts it for what `cache` holds in the process.
pub(crate) fn start(cache: &Cache) {
    let Ok(runtime) = Handle::try_current() else { return };
    match cache {
        Cache::Quick(cache) => drop(runtime.spawn(while_shared(cache.engine().clone()))),
        Cache::Moka(cache) => drop(runtime.spawn(while_shared(cache.engine().clone()))),
        Cache::Hybrid(_, Near::Quick(store)) => {
            drop(runtime.spawn(while_there(Arc::downgrade(store))));
        }
        Cache::Hybrid(_, Near::Moka(store)) => {
            drop(runtime.spawn(while_there(Arc::downgrade(store))));
        }
        Cache::Hybrid(_, Near::None) => {}
    }
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
