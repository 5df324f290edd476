//! Values, loads and assertions that the behaviours share.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cache_core::{
    CacheError, CacheService, CacheServiceExt, CacheStore, Clock, Entry, Lease, LeaseOutcome,
    Policy, Selector,
};
use serde::{Deserialize, Serialize, Serializer};
use tokio::task::JoinHandle;

use crate::{CacheHarness, Gate, Loads, eventually};

/// A value of the kind a service caches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Org {
    pub(super) id: u64,
    pub(super) name: String,
    pub(super) roles: Vec<String>,
}

impl Org {
    pub(super) fn new(id: u64) -> Self {
        Self { id, name: format!("Organisation {id} é 日本"), roles: vec!["admin".into()] }
    }
}

/// A value with a part that is not written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Session {
    pub(super) user: String,
    #[serde(skip)]
    pub(super) token: Option<String>,
}

impl Session {
    /// One whose token must not come back from a cache.
    pub(super) fn with_token() -> Self {
        Self { user: "ada".into(), token: Some("secret".into()) }
    }

    pub(super) fn without_token() -> Self {
        Self { user: "ada".into(), token: None }
    }
}

/// A value that does not serialize.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Broken;

impl Serialize for Broken {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("broken on purpose"))
    }
}

/// What a call of `get_or_load` in a task of its own returns.
pub(super) type Loading<T> = JoinHandle<Result<Arc<T>, CacheError>>;

/// Starts `get_or_load` of `key` in a task of its own and waits until its loader has begun. It
/// will return `value` when `gate` is opened.
pub(super) async fn begin_load(
    h: &CacheHarness,
    key: &'static str,
    gate: &Gate,
    value: u64,
) -> Loading<u64> {
    let (cache, policy) = (Arc::clone(h.cache()), h.lasting());
    let load = Loads::new().gated(gate, value);
    let loading = tokio::spawn(async move { cache.get_or_load(key, policy, load).await });
    gate.reached().await;
    loading
}

/// The value of a load that must succeed.
pub(super) async fn loaded(loading: Loading<u64>) -> u64 {
    *loading.await.expect("the caller panicked").expect("the load failed")
}

/// Loads `key` anew and returns what the caller gets.
pub(super) async fn load_now(h: &CacheHarness, key: &str, value: u64) -> u64 {
    load_with(h, key, h.lasting(), &Loads::new(), value).await
}

/// As [`load_now`], under `policy`, counted by `loads`.
pub(super) async fn load_with(
    h: &CacheHarness,
    key: &str,
    policy: Policy,
    loads: &Loads,
    value: u64,
) -> u64 {
    *h.cache().get_or_load(key, policy, loads.returning(value)).await.expect("the load failed")
}

/// Writes `value` under a TTL that lasts.
pub(super) async fn put(h: &CacheHarness, key: &str, value: u64) {
    h.cache().set(key, &value, h.lasting()).await.expect("set failed");
}

/// Writes `value` so that it is stale now, and may be served stale for a long time yet.
pub(super) async fn put_stale(h: &CacheHarness, key: &str, value: u64) {
    let policy = Policy::ttl(h.units(1)).stale_for(h.units(900));
    h.cache().set(key, &value, policy).await.expect("set failed");
    h.pass(h.units(2)).await;
}

/// An entry that lasts.
pub(super) fn entry(h: &CacheHarness, value: u64) -> Entry {
    Entry::encode(&value, &h.lasting()).expect("a number encodes")
}

/// An entry whose time is over already.
pub(super) fn expired_entry(clock: &Clock) -> Entry {
    let past = clock.now() - std::time::Duration::from_secs(1);
    Entry::restore(Some(b"1".to_vec()), past, past)
}

/// A lease on `key`, for a time that lasts.
pub(super) async fn lease(h: &CacheHarness, key: &str) -> Lease {
    lease_for(h, key, 1_000).await
}

/// A lease on `key`, for `units` of time, whatever is under it.
pub(super) async fn lease_for(h: &CacheHarness, key: &str, units: u32) -> Lease {
    lease_of(h, key, h.units(units)).await
}

/// A lease on `key`.
pub(super) async fn lease_of(h: &CacheHarness, key: &str, ttl: Duration) -> Lease {
    lease_by(&**h.cache(), key, ttl).await
}

/// A lease on `key` that `cache` is granted.
pub(super) async fn lease_by(cache: &dyn CacheService, key: &str, ttl: Duration) -> Lease {
    match cache.lease_to_replace(key, ttl).await.expect("lease failed") {
        LeaseOutcome::Granted(lease) => lease,
        other => panic!("no lease on {key:?}: {other:?}"),
    }
}

/// Whether a fill under `lease` was stored.
pub(super) async fn fill(h: &CacheHarness, lease: Lease, value: u64) -> bool {
    h.cache().fill(lease, entry(h, value)).await.expect("fill failed")
}

/// What the store itself finds under `key`, stale or not.
pub(super) async fn fetch(h: &CacheHarness, key: &str) -> Option<Entry> {
    h.cache().fetch(key).await.expect("fetch failed")
}

/// The number in an entry.
pub(super) fn number(entry: Option<&Entry>) -> Option<u64> {
    entry.map(|entry| entry.decode().expect("an entry that nobody wrote"))
}

pub(super) fn strings(keys: &[&str]) -> Vec<String> {
    keys.iter().map(|&key| key.to_owned()).collect()
}

pub(super) fn keys(keys: &[&str]) -> Selector {
    Selector::Keys(strings(keys))
}

/// Calls `get_or_load_many` and returns each slot's value.
pub(super) async fn load_many<F, Fut, E>(
    cache: &dyn CacheService,
    keys: &[&str],
    policy: Policy,
    load: F,
) -> Vec<Option<u64>>
where
    F: FnOnce(Vec<String>) -> Fut + Send + 'static,
    Fut: Future<Output = Result<HashMap<String, u64>, E>> + Send + 'static,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let slots = cache.get_or_load_many::<u64, _, _, _>(keys, policy, load).await;
    slots.expect("the load failed").into_iter().map(|slot| slot.map(|value| *value)).collect()
}

/// Counts what has begun, for tests that wait until everybody has.
#[derive(Clone, Default)]
pub(super) struct Started(Arc<AtomicUsize>);

impl Started {
    pub(super) fn one(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// Starts `count` callers in tasks of their own and waits until each has called.
pub(super) async fn callers(
    h: &CacheHarness,
    count: usize,
    call: impl Fn(Arc<dyn CacheService>, usize) -> Loading<u64>,
) -> Vec<Loading<u64>> {
    let callers = (0..count).map(|n| call(Arc::clone(h.cache()), n)).collect();
    tokio::task::yield_now().await;
    callers
}

/// How many tasks the runtime has: a load that has ended has none any more.
pub(super) fn tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

/// Waits until the runtime has no more than `before` tasks.
pub(super) async fn loads_ended(before: usize) {
    eventually(|| tasks() <= before).await;
}
