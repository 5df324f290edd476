//! P10: the contract of every cache, on a real server, reached in every way.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cache_redis::{RedisCacheService, RedisConfig};
use cache_testkit::servers::{RedisCluster, RedisSentinel, RedisServer};
use cache_testkit::{CacheHarness, Capabilities, Capability};

/// The contract is the subject here, not the budget of a call on a busy machine.
const PATIENT: Duration = Duration::from_secs(5);

fn capabilities() -> Capabilities {
    Capabilities::all()
        .without(Capability::RemovalCounts)
        .without(Capability::LocalReads)
        .without(Capability::EntryCounts)
        .without(Capability::ByteWeight)
}

/// A cache in a namespace of its own.
async fn harness(config: RedisConfig) -> CacheHarness {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let namespace = format!("n{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    let config = config.namespace(namespace).operation_timeout(PATIENT);
    let cache = RedisCacheService::connect(config).await.unwrap();
    CacheHarness::new(cache).capabilities(capabilities())
}

/// The suite on the servers that `$start` starts, reached as their URL says, or as `$more` adds.
macro_rules! on {
    ($name:ident, $servers:ty, $start:expr $(, $more:expr)?) => {
        mod $name {
            use super::*;

            /// Shared by all behaviours; it ends with the process.
            static SERVERS: LazyLock<$servers> = LazyLock::new($start);

            async fn harness() -> CacheHarness {
                let config = RedisConfig::from_url(&SERVERS.url()).unwrap();
                $(let config = $more(config, &SERVERS);)?
                super::harness(config).await
            }
            cache_testkit::cache_conformance!(harness);
        }
    };
}

/// By this name `scripts/test` runs more of them at once than there are cores: they mostly wait.
mod on_redis {
    use super::*;

    on!(single_server, RedisServer, RedisServer::start);
    on!(unix_socket, RedisServer, || RedisServer::builder().unix_socket().start());
    on!(cluster_of_three, RedisCluster, || RedisCluster::start(3));
    on!(sentinel, RedisSentinel, RedisSentinel::start);
    on!(tls, RedisServer, || RedisServer::builder().tls().start(), trusting);
}

/// The certificate is made for the test; nobody else knows who signed it.
fn trusting(config: RedisConfig, server: &RedisServer) -> RedisConfig {
    config.ca_certificate(server.ca_pem())
}
