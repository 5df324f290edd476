//! P10: the contract of every cache, on a real server, reached in every way.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use cache_redis::{RedisCacheService, RedisConfig};
use cache_testkit::servers::{RedisCluster, RedisServer};
use cache_testkit::{CacheHarness, Capabilities, Capability};

/// The contract is the subject here, not the budget of a call on a busy machine.
const PATIENT: std::time::Duration = std::time::Duration::from_secs(5);

fn capabilities() -> Capabilities {
    Capabilities::all()
        .without(Capability::RemovalCounts)
        .without(Capability::LocalReads)
        .without(Capability::EntryCounts)
        .without(Capability::ByteWeight)
}

async fn harness(server: RedisServer) -> CacheHarness {
    let config = RedisConfig::from_url(&server.url()).unwrap().operation_timeout(PATIENT);
    let cache = RedisCacheService::connect(config).await.unwrap();
    CacheHarness::new(cache).capabilities(capabilities()).keep(server)
}

mod single_server {
    async fn harness() -> super::CacheHarness {
        super::harness(super::RedisServer::start()).await
    }
    cache_testkit::cache_conformance!(harness);
}

mod cluster_of_three {
    async fn harness() -> super::CacheHarness {
        let cluster = super::RedisCluster::start(3);
        let config = super::RedisConfig::from_url(&cluster.url()).unwrap();
        let config = config.operation_timeout(super::PATIENT);
        let cache = super::RedisCacheService::connect(config).await.unwrap();
        super::CacheHarness::new(cache).capabilities(super::capabilities()).keep(cluster)
    }
    cache_testkit::cache_conformance!(harness);
}
