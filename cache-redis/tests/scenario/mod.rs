//! What the scenario tests share: clients of one server, and calls that check themselves.
#![allow(dead_code, unreachable_pub, reason = "each test file takes what it needs")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cache_core::{CacheError, CacheServiceExt, Policy};
use cache_redis::{RedisCacheService, RedisConfig};
use cache_testkit::Gate;
use tokio::task::JoinHandle;

/// A TTL that lasts longer than any test.
pub const LASTING: Duration = Duration::from_secs(3_600);
/// How long one operation may take.
pub const BUDGET: Duration = Duration::from_millis(250);
/// What a busy machine adds to it.
pub const SLACK: Duration = Duration::from_millis(100);
/// How soon everything is well again once the server is.
pub const HEAL: Duration = Duration::from_secs(2);

pub const NAMESPACE: &str = "app";

/// The key in Redis.
pub fn name(key: &str) -> String {
    format!("{NAMESPACE}:{key}")
}

pub fn config(url: &str) -> RedisConfig {
    RedisConfig::from_url(url).unwrap().namespace(NAMESPACE)
}

pub async fn connect(url: &str) -> RedisCacheService {
    RedisCacheService::connect(config(url)).await.unwrap()
}

pub async fn get(cache: &RedisCacheService, key: &str) -> Option<u64> {
    cache.get(key).await.unwrap()
}

/// What a caller gets who would load `value`.
pub async fn load(cache: &RedisCacheService, key: &str, value: u64) -> u64 {
    *try_load(cache, key, value).await.unwrap()
}

pub async fn try_load(
    cache: &RedisCacheService,
    key: &str,
    value: u64,
) -> Result<Arc<u64>, CacheError> {
    cache.get_or_load(key, LASTING, move || async move { Ok::<_, Infallible>(value) }).await
}

/// Starts a load that waits at `gate`, and waits until it has begun.
pub async fn begin_load(
    cache: &RedisCacheService,
    key: &'static str,
    policy: impl Into<Policy>,
    gate: &Gate,
    value: u64,
) -> JoinHandle<u64> {
    let (cache, policy, load) = (cache.clone(), policy.into(), gate.loader(value));
    let loading = tokio::spawn(async move { *cache.get_or_load(key, policy, load).await.unwrap() });
    gate.reached().await;
    loading
}

/// Runs a call, which must end within its budget.
#[track_caller]
pub fn bounded<F: Future>(call: F) -> impl Future<Output = F::Output> {
    let caller = std::panic::Location::caller();
    async move {
        let start = Instant::now();
        let output = call.await;
        assert!(start.elapsed() < BUDGET + SLACK, "a call took {:?}: {caller}", start.elapsed());
        output
    }
}
