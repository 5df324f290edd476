//! By hand: a tokio `OnceCell` for each key in a map. It never forgets.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use cache_bench_kit::value::Org;
use parking_lot::Mutex;
use tokio::sync;

use super::{Crowd, load};

#[derive(Default)]
pub(crate) struct OnceCell(Mutex<HashMap<String, Arc<sync::OnceCell<Arc<Org>>>>>);

impl Crowd for OnceCell {
    async fn call(&self, key: &str, loads: &Arc<AtomicUsize>) -> Arc<Org> {
        let cell = {
            let mut map = self.0.lock();
            match map.get(key) {
                Some(cell) => Arc::clone(cell),
                None => Arc::clone(map.entry(key.to_owned()).or_default()),
            }
        };
        Arc::clone(cell.get_or_init(|| async { Arc::new(load(Arc::clone(loads)).await) }).await)
    }
}
