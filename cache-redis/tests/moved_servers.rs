//! Another server answers under the same address: after a failover, behind a balancer.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod relay;
mod scenario;

use std::time::Duration;

use cache_core::{BusEvent, CacheServiceExt, ErrorKind, InvalidationBus, Selector};
use cache_redis::{Call, Connections, Lane, RedisBus, RedisCacheService, Retry, Script};
use cache_testkit::servers::{FaultProxy, RedisServer};
use cache_testkit::{eventually, eventually_async};
use futures_util::StreamExt;
use relay::Relay;
use scenario::{LASTING, config, connect, get, name};
use tokio::time::timeout;

/// A cursor means something to the server that gave it, and nothing to another.
#[tokio::test(flavor = "multi_thread")]
async fn a_removal_by_prefix_begins_anew_on_another_server() {
    let (first, second) = (RedisServer::start(), RedisServer::start());
    for server in [&first, &second] {
        server.command(&["DEBUG", "POPULATE", "20000", &name("old")]);
    }
    let relay = Relay::start(first.addr()).await;
    let proxy = FaultProxy::start(&relay.url());
    let cache = connect(&proxy.url(&relay.url())).await;
    // Twenty steps, of two round trips each.
    proxy.latency(Duration::from_millis(5));
    let removal = tokio::spawn({
        let cache = cache.clone();
        async move { cache.invalidate_prefix("old:").await }
    });
    eventually(|| first.command(&["DBSIZE"]).integer() < 12_000).await;
    relay.lead_to(second.addr());
    proxy.reset_connections();
    removal.await.unwrap().unwrap();
    assert!(first.command(&["DBSIZE"]).integer() > 0, "it was done before");
    assert_eq!(second.command(&["DBSIZE"]).integer(), 0);
}

/// One connection finds that it leads to a replica: so do the others.
#[tokio::test(flavor = "multi_thread")]
async fn p5_13_nothing_more_is_read_from_a_demoted_primary() {
    let (first, second) = (RedisServer::start(), RedisServer::start());
    let relay = Relay::start(first.addr()).await;
    // No heartbeat says so before.
    let config = config(&relay.url())
        .connections(4)
        .operation_timeout(Duration::from_secs(2))
        .heartbeat_interval(Duration::from_secs(60));
    let cache = RedisCacheService::connect(config).await.unwrap();
    cache.set("k", &1_u64, LASTING).await.unwrap();
    connect(&second.url()).await.set("k", &2_u64, LASTING).await.unwrap();
    first.command(&["REPLICAOF", "127.0.0.1", "1"]);
    relay.lead_to(second.addr());
    // A connection that was opened just now is not replaced for that.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(get(&cache, "k").await, Some(1));
    cache.set("other", &1_u64, LASTING).await.unwrap_err();
    for _ in 0..100 {
        assert_eq!(get(&cache, "k").await, Some(2), "read from the replica");
    }
}

/// Redis 6 says of a script that wrote to a replica that it failed, and in its words why.
#[tokio::test(flavor = "multi_thread")]
async fn p5_13_a_script_that_finds_a_replica_says_so_on_redis_6_too() {
    let (first, second) = (RedisServer::start(), RedisServer::start());
    let relay = Relay::start(first.addr()).await;
    let config = config(&relay.url()).heartbeat_interval(Duration::from_secs(60));
    let connections = Connections::connect(&config).await.unwrap();
    let replies_as_6 = Script::new(
        "return {err = \"ERR Error running script (call to f_7b5ad): @user_script:4: \" ..
         \"@user_script: 4: -READONLY You can't write against a read only replica. \"}",
    );
    relay.lead_to(second.addr());
    // A connection that was opened just now is not replaced for that.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let call = Call::new(Lane::Small);
    let refused = connections.script::<()>(call, &replies_as_6, &["k"], &[]).await.unwrap_err();
    assert_eq!((refused.kind(), refused.is_retryable()), (ErrorKind::Unavailable, true));
    second.command(&["SET", "where", "second"]);
    for lane in [Lane::Small, Lane::Small, Lane::Bulk, Lane::Scan] {
        let mut get = redis::cmd("GET");
        get.arg("where");
        let call = Call::new(lane).retry(Retry::Once);
        let said = connections.query::<Option<String>>(call, &get).await.unwrap();
        assert_eq!(said.as_deref(), Some("second"), "{lane:?}");
    }
}

/// Who is told by a primary is not told by it any more once it is a replica: the bus is lost, and
/// comes back where the others are. So do connections on which nobody writes.
#[tokio::test(flavor = "multi_thread")]
async fn p2_a_demoted_server_is_left_by_the_bus_and_by_those_who_only_read() {
    let (first, second) = (RedisServer::start(), RedisServer::start());
    let relay = Relay::start(first.addr()).await;
    let quick = |url: &str| {
        config(url)
            .heartbeat_interval(Duration::from_millis(100))
            .heartbeat_timeout(Duration::from_secs(2))
    };
    let connections = Connections::connect(&quick(&relay.url())).await.unwrap();
    let bus = RedisBus::new(connections.clone()).unwrap();
    let mut events = bus.subscribe();
    assert_eq!(events.next().await, Some(BusEvent::Connected));
    first.command(&["REPLICAOF", "127.0.0.1", "1"]);
    relay.lead_to(second.addr());
    let wait = Duration::from_secs(10);
    for expected in [BusEvent::Disconnected, BusEvent::Connected] {
        assert_eq!(timeout(wait, events.next()).await.expect("it notices"), Some(expected));
    }
    second.command(&["PUBLISH", bus.channel(), "k"]);
    let removed = BusEvent::Removed(Selector::key("k"));
    assert_eq!(timeout(wait, events.next()).await.expect("it hears"), Some(removed));
    second.command(&["SET", "where", "second"]);
    let mut get = redis::cmd("GET");
    get.arg("where");
    eventually_async(async || {
        let said = connections.query::<Option<String>>(Call::new(Lane::Small), &get).await;
        said.is_ok_and(|said| said.is_some())
    })
    .await;
}

/// A replica that was named is what was meant: nothing is opened anew for that.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_a_replica_from_the_start_stays_trusted() {
    let server = RedisServer::start();
    server.command(&["REPLICAOF", "127.0.0.1", "1"]);
    let config = config(&server.url()).heartbeat_interval(Duration::from_millis(20));
    let connections = Connections::connect(&config).await.unwrap();
    let bus = RedisBus::new(connections.clone()).unwrap();
    let mut events = bus.subscribe();
    assert_eq!(events.next().await, Some(BusEvent::Connected));
    server.reset_commandstats();
    eventually(|| server.commandstats().get("role").is_some_and(|asked| *asked >= 40)).await;
    assert_eq!((connections.stats().reconnects, bus.stats().reconnects), (0, 0));
    // Nor does one that is made a primary and a replica again go unnoticed.
    server.command(&["REPLICAOF", "NO", "ONE"]);
    server.reset_commandstats();
    eventually(|| server.commandstats().get("role").is_some_and(|asked| *asked >= 40)).await;
    server.command(&["REPLICAOF", "127.0.0.1", "1"]);
    let wait = Duration::from_secs(10);
    for expected in [BusEvent::Disconnected, BusEvent::Connected] {
        assert_eq!(timeout(wait, events.next()).await.expect("it notices"), Some(expected));
    }
    eventually(|| connections.stats().reconnects > 0).await;
}
