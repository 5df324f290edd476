//! A tokio mutex for each key in a map behind a lock; who leaves removes the key if nobody else wants it.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

#[derive(Default)]
pub(crate) struct MapRemoved(Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>);

/// Cleans up, whether the lock was had or not.
struct Interest<'a> {
    map: &'a MapRemoved,
    key: &'a str,
    mutex: Option<Arc<tokio::sync::Mutex<()>>>,
}

impl Drop for Interest<'_> {
    fn drop(&mut self) {
        let mut map = self.map.0.lock();
        drop(self.mutex.take());
        if map.get(self.key).is_some_and(|mutex| Arc::strong_count(mutex) == 1) {
            map.remove(self.key);
        }
    }
}

impl MapRemoved {
    pub(crate) async fn with_lock<F: Future>(&self, key: &str, section: F) -> F::Output {
        let mutex = Arc::clone(self.0.lock().entry(key.to_owned()).or_default());
        let interest = Interest { map: self, key, mutex: Some(mutex) };
        let _held = interest.mutex.as_ref().expect("until it is dropped").lock().await;
        section.await
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }
}
