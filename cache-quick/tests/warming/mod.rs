//! What the tests of the warmer share.
#![allow(dead_code, reason = "each test file takes what it needs")]

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex};

use cache_core::{ManualClock, WarmLoader};
use cache_quick::QuickCacheService;

/// A cache that lives by `clock`.
pub(crate) fn cache(clock: &ManualClock) -> QuickCacheService {
    QuickCacheService::builder().clock(clock.clock()).build()
}

pub(crate) fn keys(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|at| format!("{prefix}{at}")).collect()
}

/// What is loaded under `key`.
pub(crate) fn value(key: &str) -> String {
    format!("value of {key}")
}

/// The batches that were loaded.
#[derive(Default)]
pub(crate) struct Values(Mutex<Vec<Vec<String>>>);

impl Values {
    pub(crate) fn batches(&self) -> Vec<Vec<String>> {
        self.0.lock().unwrap().clone()
    }

    /// All keys of all batches.
    pub(crate) fn sorted(&self) -> Vec<String> {
        let mut keys = self.batches().concat();
        keys.sort();
        keys
    }

    fn load(&self, keys: Vec<String>) -> HashMap<String, String> {
        self.0.lock().unwrap().push(keys.clone());
        keys.into_iter().map(|key| (key.clone(), value(&key))).collect()
    }
}

/// A loader that lists no keys.
pub(crate) fn loader(name: &str, prefix: &str, values: &Arc<Values>) -> WarmLoader {
    let values = Arc::clone(values);
    WarmLoader::new::<String, _, _, _>(name, prefix, move |keys| {
        let loaded = values.load(keys);
        async move { Ok::<_, io::Error>(loaded) }
    })
}

/// One that lists so many.
pub(crate) fn listed(name: &str, prefix: &str, count: usize, values: &Arc<Values>) -> WarmLoader {
    let listed = keys(prefix, count);
    loader(name, prefix, values).keys(move || {
        let listed = listed.clone();
        async move { Ok::<_, io::Error>(listed) }
    })
}
