//! P10: the contract of every cache, and that of every bus, on a real server, reached in every way.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use cache_redis::{Connections, RedisBus, RedisCacheService, RedisConfig};
use cache_testkit::bus_suite::BusHarness;
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
    let cache = RedisCacheService::connect(config.clone()).await.unwrap();
    let second = RedisCacheService::connect(config).await.unwrap();
    CacheHarness::new(cache).second(second).capabilities(capabilities())
}

/// Two ends of a bus with a channel of their own, whose server is asked for nothing but what it is told.
async fn bus_harness(config: RedisConfig) -> BusHarness {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let channel = format!("bus{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    let config = config.invalidation_channel(channel).operation_timeout(PATIENT);
    let config = config.heartbeat_timeout(PATIENT);
    let first = Connections::connect(&config).await.unwrap();
    let second = Connections::connect(&config).await.unwrap();
    let bus = |connections: &Connections| Arc::new(RedisBus::new(connections.clone()).unwrap());
    BusHarness::new(bus(&first), bus(&second)).shutdown(async move || first.shutdown().await)
}

/// The suite on the servers that `$start` starts, reached as their URL says, or as `$more` adds.
macro_rules! on {
    ($name:ident, $servers:ty, $start:expr $(, $more:expr)?) => {
        mod $name {
            use super::*;

            /// Shared by all behaviours; it ends with the process.
            static SERVERS: LazyLock<$servers> = LazyLock::new($start);

            pub(super) fn config() -> RedisConfig {
                let config = RedisConfig::from_url(&SERVERS.url()).unwrap();
                $(let config = $more(config, &SERVERS);)?
                config
            }
            cache_testkit::cache_conformance!(async || super::harness(config()).await);
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

    mod bus_on_a_server {
        use super::*;

        cache_testkit::bus_conformance!(async || bus_harness(single_server::config()).await);
    }

    mod bus_on_a_cluster {
        use super::*;

        cache_testkit::bus_conformance!(async || bus_harness(cluster_of_three::config()).await);
    }
}

/// The certificate is made for the test; nobody else knows who signed it.
fn trusting(config: RedisConfig, server: &RedisServer) -> RedisConfig {
    config.ca_certificate(server.ca_pem())
}
