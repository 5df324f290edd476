//! A tokio mutex for each key in a map behind a lock, never cleaned: it keeps every key it has seen.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

#[derive(Default)]
pub(crate) struct Map(Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>);

impl Map {
    pub(crate) async fn with_lock<F: Future>(&self, key: &str, section: F) -> F::Output {
        let mutex = {
            let mut map = self.0.lock();
            match map.get(key) {
                Some(mutex) => Arc::clone(mutex),
                None => Arc::clone(map.entry(key.to_owned()).or_default()),
            }
        };
        let _held = mutex.lock().await;
        section.await
    }
}
