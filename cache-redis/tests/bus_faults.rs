//! P2 03 and 04: a subscription that is lost is noticed in time and made anew, wherever Redis is.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(clippy::print_stdout, reason = "figures, for whoever asks with --nocapture")]

mod nodes;

use std::time::{Duration, Instant};

use cache_core::{BusEvent, CacheStore, Entry, Policy, Selector};
use cache_redis::{Connections, RedisBus, RedisStore};
use cache_testkit::servers::{RedisCluster, RedisSentinel, RedisServer};
use cache_testkit::{Direction, FaultProxy, eventually, eventually_async};
use nodes::{Node, config, key, removed, subscribers};

/// How soon a loss is noticed: heartbeat interval and timeout are 1.5 s, and P2 says 2 s.
const BOUND: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread")]
async fn p2_03_a_subscription_that_is_killed_is_made_anew() {
    let server = RedisServer::start();
    let (mut a, mut b) = (Node::start(&server.url()).await, Node::start(&server.url()).await);
    for round in 1..=3 {
        assert_eq!(server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).integer(), 2);
        for node in [&mut a, &mut b] {
            assert_eq!(node.hears().await, BusEvent::Disconnected, "round {round}");
            assert_eq!(node.hears().await, BusEvent::Connected, "round {round}");
        }
        a.tells(&key("k")).await;
        assert_eq!(b.hears().await, removed("k"), "round {round}");
        assert_eq!(a.bus.stats().reconnects, round);
    }
    eventually(|| subscribers(&server) == 2).await;
}

async fn noticed(node: &mut Node, since: Instant, what: &str) {
    assert_eq!(node.hears().await, BusEvent::Disconnected, "{what}");
    let took = since.elapsed();
    println!("{what} noticed after {took:?}");
    assert!(took < BOUND, "{what} was noticed after {took:?}");
    assert!(!node.bus.stats().connected);
}

async fn healed(node: &mut Node, server: &RedisServer, what: &str) {
    let start = Instant::now();
    assert_eq!(node.hears().await, BusEvent::Connected, "{what}");
    println!("{what} healed after {:?}", start.elapsed());
    server.command(&["PUBLISH", "cache:invalidate", what]);
    assert_eq!(node.hears().await, removed(what));
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_04_a_silent_server_is_noticed_within_the_bound() {
    let server = RedisServer::start();
    let mut node = Node::start(&server.url()).await;
    server.pause();
    noticed(&mut node, Instant::now(), "SIGSTOP").await;
    server.resume();
    healed(&mut node, &server, "SIGSTOP").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_04_a_black_holed_subscription_is_noticed_within_the_bound() {
    let server = RedisServer::start();
    let proxy = FaultProxy::start(&server.url());
    let mut node = Node::start(&proxy.url(&server.url())).await;
    for way in [Direction::ToClient, Direction::ToServer] {
        proxy.black_hole(way);
        noticed(&mut node, Instant::now(), "black hole").await;
        proxy.heal();
        healed(&mut node, &server, "black hole").await;
    }
    // Answers that come later than the timeout are as bad.
    proxy.latency(Duration::from_millis(600));
    noticed(&mut node, Instant::now(), "latency").await;
    proxy.heal();
    healed(&mut node, &server, "latency").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_is_noticed_at_once_and_found_again() {
    let server = RedisServer::start();
    let mut node = Node::start(&server.url()).await;
    for _ in 0..2 {
        let since = Instant::now();
        server.kill();
        noticed(&mut node, since, "kill").await;
        server.restart();
        healed(&mut node, &server, "kill").await;
    }
    assert!(node.bus.stats().last_fault.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bus_may_be_made_before_its_server() {
    let server = RedisServer::start();
    server.stop();
    let connections = Connections::connect_degraded(&config(&server.url())).unwrap();
    let bus = RedisBus::new(connections.clone()).unwrap();
    let events = cache_core::InvalidationBus::subscribe(&bus);
    let mut node = Node { connections, bus, events };
    eventually(|| node.bus.stats().last_fault.is_some()).await;
    assert!(!node.bus.stats().connected);
    server.restart();
    healed(&mut node, &server, "late").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_logins_and_sockets_are_those_of_the_connections() {
    let password = "hunter2secret";
    let tls = RedisServer::builder().tls().user("app", password).start();
    let socket = RedisServer::builder().unix_socket().password(password).start();
    let plain = RedisServer::builder().password(password).start();
    for server in [&tls, &socket, &plain] {
        let mut at = config(&server.url());
        if server.url().starts_with("rediss:") {
            at = at.ca_certificate(server.ca_pem());
        }
        let (a, mut b) = (Node::with(at.clone()).await, Node::with(at).await);
        a.tells(&key("k")).await;
        assert_eq!(b.hears().await, removed("k"));
    }
    // The database does not matter: a channel is the server's.
    let (a, mut b) = (
        Node::start(&format!("{}/1", plain.url())).await,
        Node::start(&format!("{}/2", plain.url())).await,
    );
    a.tells(&key("k")).await;
    assert_eq!(b.hears().await, removed("k"));
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_logins_and_rights_are_told_and_mended() {
    let server = RedisServer::builder().password("hunter2secret").start();
    let mut node = Node::start(&server.url()).await;
    server.set_password("another3secret");
    server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    assert_eq!(node.hears().await, BusEvent::Disconnected);
    let fault = || node.bus.stats().last_fault.unwrap();
    eventually(|| fault().contains("WRONGPASS")).await;
    let said = format!("{:?} {}", node.bus, fault());
    assert!(!said.contains("hunter2secret") && !said.contains("another3secret"), "{said}");
    server.set_password("hunter2secret");
    healed(&mut node, &server, "password").await;

    let open = RedisServer::start();
    open.command(&["ACL", "SETUSER", "deaf", "on", ">pw", "~*", "resetchannels", "+@all"]);
    let url = open.url().replace("redis://", "redis://deaf:pw@");
    let connections = Connections::connect(&config(&url)).await.unwrap();
    let bus = RedisBus::new(connections).unwrap();
    eventually(|| {
        let fault = bus.stats().last_fault;
        fault.is_some_and(|fault| fault.contains("may not subscribe to cache:invalidate"))
    })
    .await;
    open.command(&["ACL", "SETUSER", "deaf", "&cache:invalidate"]);
    eventually(|| bus.stats().connected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_cluster_whatever_the_node() {
    let cluster = RedisCluster::start(3);
    let mut all = Vec::new();
    for _ in 0..4 {
        all.push(Node::start(&cluster.url()).await);
    }
    let mut told = Node::start(&cluster.url()).await;
    let store = RedisStore::new(told.connections.clone());
    let entry = Entry::encode(&1_u64, &Policy::default()).unwrap();
    store.store_and_tell("a", entry, &told.bus).await.unwrap();
    let what = Selector::Keys(vec!["a".to_owned(), "b".to_owned(), "c".to_owned()]);
    store.remove_and_tell(&what, &told.bus).await.unwrap();
    assert!(store.fetch("a").await.unwrap().is_none());
    for node in &mut all {
        assert_eq!(node.hears().await, removed("a"));
        assert_eq!(node.hears().await, BusEvent::Removed(what.clone()));
    }
    // By hand, on any node.
    for server in cluster.nodes() {
        server.command(&["PUBLISH", "cache:invalidate", "k"]);
        assert_eq!(told.hears().await, removed("k"));
    }
    for server in cluster.nodes() {
        server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    }
    assert_eq!(told.hears().await, BusEvent::Disconnected);
    assert_eq!(told.hears().await, BusEvent::Connected);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_failover_it_listens_to_the_new_primary() {
    let sentinel = RedisSentinel::start();
    let (a, mut b) = (Node::start(&sentinel.url()).await, Node::start(&sentinel.url()).await);
    a.tells(&key("before")).await;
    assert_eq!(b.hears().await, removed("before"));
    sentinel.kill_primary();
    assert_eq!(b.hears().await, BusEvent::Disconnected);
    sentinel.wait_until_promoted();
    assert_eq!(b.hears().await, BusEvent::Connected);
    eventually_async(async || {
        // Real time: a server is being found, and is not to be asked without a pause.
        tokio::time::sleep(Duration::from_millis(5)).await;
        cache_core::InvalidationBus::publish(&a.bus, &key("after")).await.is_ok()
    })
    .await;
    assert_eq!(b.hears().await, removed("after"));
}
