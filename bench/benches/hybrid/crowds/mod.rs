//! Ways in which many callers wait for one load.

pub(crate) mod cachet;
pub(crate) mod moka;
pub(crate) mod multi_tier_cache;
pub(crate) mod once_cell;
pub(crate) mod ours;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cache_bench_kit::value::{Org, org};

/// So long that all are waiting by then.
const LOAD: Duration = Duration::from_millis(20);

pub(crate) trait Crowd: Send + Sync + 'static {
    /// The value, by one load for all who call meanwhile.
    fn call(&self, key: &str, loads: &Arc<AtomicUsize>) -> impl Future<Output = Arc<Org>> + Send;
}

/// What everybody waits for.
pub(crate) async fn load(loads: Arc<AtomicUsize>) -> Org {
    loads.fetch_add(1, Ordering::Relaxed);
    tokio::time::sleep(LOAD).await;
    org(7)
}
