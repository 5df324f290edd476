//! Whether Redis may evict locks to make room: looked at once, when the service starts.

use std::time::Duration;

use cache_redis::{Call, Lane, Retry};
use redis::InfoDict;

use super::script::Redis;

/// Between attempts to ask: the first pause, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
const ASK: Call = Call::new(Lane::Scan).retry(Retry::Once);

/// Asks until Redis answers, and warns if a lock may be evicted: it has a TTL, so all policies but
/// `noeviction` may take it. The holder then loses its lease; another may have the lock before.
pub(crate) async fn warn(redis: Redis) {
    let mut pause = PAUSE.0;
    let policy = loop {
        match policy(&redis).await {
            Ok(policy) => break policy,
            Err(error) if error.is_retryable() => {}
            // A user who may not ask.
            Err(error) => return tracing::debug!(%error, "the eviction policy is not known"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE.1);
    };
    if let Some(policy) = policy {
        tracing::warn!(
            policy,
            "Redis may evict locks when its memory is full, and then two can hold one: set \
             maxmemory-policy to noeviction, or keep locks on a Redis of their own"
        );
    }
}

/// The first policy found, of all primaries, by which a lock may be evicted.
async fn policy(redis: &Redis) -> Result<Option<String>, cache_core::CacheError> {
    let mut info = redis::cmd("INFO");
    info.arg("memory");
    for primary in redis.connections.primaries().await? {
        let memory: InfoDict = primary.query(ASK, &info).await?;
        let bounded = memory.get::<u64>("maxmemory").is_some_and(|bytes| bytes > 0);
        let policy = memory.get::<String>("maxmemory_policy").unwrap_or_default();
        if bounded && !policy.is_empty() && policy != "noeviction" {
            return Ok(Some(policy));
        }
    }
    Ok(None)
}
