//! Bytes per entry when as many entries are held as fit, beside raw `quick_cache` with the same keys and
//! values.

use std::sync::Arc;

use allocation_counter::measure;
use cache_bench_kit::Table;
use cache_bench_kit::value::{Org, Size, key};
use cache_core::{CacheServiceExt, CacheStore};
use cache_quick::QuickCacheService;
use quick_cache::sync::Cache;

use crate::Bench;

/// So many, or fewer that are large: so many bytes of JSON in all.
const ENTRIES: usize = 100_000;
const BYTES: usize = 256 * 1024 * 1024;

pub(crate) fn run(bench: &Bench) {
    for size in bench.arguments.sizes_or(&[Size::SMALL]) {
        of_size(bench, size);
    }
}

fn of_size(bench: &Bench, size: Size) {
    let (name, entries) = (size.name(), ENTRIES.min(BYTES / size.bytes()));
    let title = format!("Bytes per entry, {entries} entries of {name} of JSON");
    let mut table = Table::new(format!("near/memory/{name}"), title, &["bytes", "entries held"]);
    let keys: Vec<_> = (0..entries).map(key).collect();
    let json = |id| serde_json::to_vec(&size.org(id)).unwrap().into_boxed_slice();
    // The same value as ours holds, which has been through the codec: how much its texts and vectors
    // have to spare depends on how they were made.
    let decoded = |id| Arc::new(serde_json::from_slice::<Org>(&json(id)).unwrap());
    let (bytes, held) = raw(&keys, decoded);
    table.row("raw quick_cache, decoded: Arc<T> only", &[Some(bytes), Some(held)]);
    let (bytes, held) = raw(&keys, json);
    table.row("raw quick_cache, encoded", &[Some(bytes), Some(held)]);
    let (bytes, held) = raw(&keys, |id| (json(id), decoded(id)));
    table.row("raw quick_cache, encoded and decoded", &[Some(bytes), Some(held)]);

    let mut cache = None;
    let encoded = measure(|| {
        let made = QuickCacheService::builder().max_capacity(entries as u64).build();
        bench.runtime.block_on(async {
            for (id, key) in keys.iter().enumerate() {
                made.set(key, &size.org(id), None).await.unwrap();
            }
        });
        cache = Some(made);
    });
    let cache = cache.unwrap();
    let decoded = measure(|| {
        bench.runtime.block_on(async {
            for key in &keys {
                let _ = cache.get_arc::<Org>(key).await.unwrap();
            }
        });
    });
    let held = cache.stats().entries as f64;
    let per_entry = |bytes: i64| Some(bytes as f64 / held);
    table.row("ours, encoded", &[per_entry(encoded.bytes_current), Some(held)]);
    let both = encoded.bytes_current + decoded.bytes_current;
    table.row("ours, encoded and decoded", &[per_entry(both), Some(held)]);
    bench.record.table(table);
}

/// Bytes per entry, and how many entries are held.
fn raw<V: Clone>(keys: &[String], value: impl Fn(usize) -> V) -> (f64, f64) {
    let mut cache = None;
    let bytes = measure(|| {
        let made = Cache::<Box<str>, V>::new(keys.len());
        for (id, key) in keys.iter().enumerate() {
            made.insert(key.as_str().into(), value(id));
        }
        cache = Some(made);
    });
    let held = cache.unwrap().len() as f64;
    (bytes.bytes_current as f64 / held, held)
}
