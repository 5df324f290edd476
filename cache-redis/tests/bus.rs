//! P2: what one node removes the others hear, in words that others can write too.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod nodes;

use std::time::Duration;

use cache_core::{BusEvent, CacheStore, Entry, ErrorKind, InvalidationBus, Policy, Selector};
use cache_redis::{Connections, RedisBus, RedisStore};
use cache_testkit::servers::RedisServer;
use cache_testkit::{FaultProxy, eventually};
use futures_util::StreamExt;
use nodes::{Node, config, key, removed, subscribers};

/// Longer than any test.
const NEVER: Duration = Duration::from_secs(60);

fn entry(value: u64) -> Entry {
    Entry::encode(&value, &Policy::ttl(NEVER)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_01_what_one_node_removes_the_others_hear() {
    let server = RedisServer::start();
    let (mut a, mut b) = (Node::start(&server.url()).await, Node::start(&server.url()).await);
    let many = Selector::Keys((0..2_000).map(|n| format!("many:{n}")).collect());
    let all = [key("k"), many, Selector::Prefix("org:é\"".to_owned()), Selector::All, key("last")];
    for what in &all {
        a.tells(what).await;
        b.tells(what).await;
    }
    for what in all {
        assert_eq!(a.hears().await, BusEvent::Removed(what.clone()));
        assert_eq!(b.hears().await, BusEvent::Removed(what));
    }
    a.tells(&Selector::Keys(Vec::new())).await;
    let stats = a.bus.stats();
    assert_eq!((stats.published, stats.received, stats.unreadable), (5, 5, 0), "{stats:?}");
    assert!(stats.connected && stats.reconnects == 0, "{stats:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn long_lists_go_in_several_messages() {
    let server = RedisServer::start();
    let (a, mut b) = (Node::start(&server.url()).await, Node::start(&server.url()).await);
    let keys: Vec<_> = (0..1_500).map(|n| format!("{n:0>1000}")).collect();
    a.tells(&Selector::Keys(keys.clone())).await;
    assert_eq!(a.bus.stats().published, 2);
    let mut heard = Vec::new();
    while heard.len() < keys.len() {
        match b.hears().await {
            BusEvent::Removed(Selector::Keys(keys)) => heard.extend(keys),
            other => unreachable!("{other:?}"),
        }
    }
    assert_eq!(heard, keys);
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_02_own_message_ignored() {
    let server = RedisServer::start();
    let (mut a, b) = (Node::start(&server.url()).await, Node::start(&server.url()).await);
    // Another handle to the same bus is the same sender.
    a.bus.clone().publish(&key("own")).await.unwrap();
    b.tells(&key("other")).await;
    assert_eq!(a.hears().await, removed("other"));
    assert_eq!(a.bus.stats().own, 1);
    // Another bus over the same connections is another.
    RedisBus::new(a.connections.clone()).unwrap().publish(&key("second")).await.unwrap();
    assert_eq!(a.hears().await, removed("second"));
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_07_the_bare_form_typed_by_hand_is_honoured() {
    let server = RedisServer::start();
    let mut node = Node::start(&server.url()).await;
    assert_eq!(node.bus.channel(), "cache:invalidate");
    for name in ["org:acme", "{org}:7", "42"] {
        assert_eq!(server.command(&["PUBLISH", "cache:invalidate", name]).integer(), 1);
        assert_eq!(node.hears().await, removed(name));
    }
    // And what a program in another language says.
    let message = r#"{"v":1,"removed":{"prefix":"org:"}}"#;
    server.command(&["PUBLISH", "cache:invalidate", message]);
    assert_eq!(node.hears().await, BusEvent::Removed(Selector::Prefix("org:".to_owned())));
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_08_unknown_message_version_is_ignored_and_counted() {
    let server = RedisServer::start();
    let mut node = Node::start(&server.url()).await;
    let over = vec![b'k'; 3 << 20];
    let garbage: &[&[u8]] = &[
        br#"{"v":2,"from":"0000000000000007","removed":"all"}"#,
        br#"{"v":1,"removed":{"tag":"x"}}"#,
        br#"{"v":1,"removed":7}"#,
        br#"{"v":1,"removed":"#,
        b"\xFF\x00",
        b"",
        &over,
    ];
    for message in garbage {
        server.command(&[b"PUBLISH".as_slice(), b"cache:invalidate", message]);
    }
    server.command(&["PUBLISH", "cache:invalidate", "k"]);
    assert_eq!(node.hears().await, removed("k"));
    assert_eq!(node.bus.stats().unreadable, 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_namespace_has_its_channel_unless_told_otherwise() {
    let server = RedisServer::start();
    let mut shop = Node::with(config(&server.url()).namespace("shop")).await;
    let mut own = Node::with(config(&server.url()).invalidation_channel("fleet")).await;
    assert_eq!((shop.bus.channel(), own.bus.channel()), ("shop:invalidate", "fleet"));
    server.command(&["PUBLISH", "fleet", "one"]);
    server.command(&["PUBLISH", "shop:invalidate", "two"]);
    assert_eq!((own.hears().await, shop.hears().await), (removed("one"), removed("two")));
    for channel in [String::new(), "c".repeat(257)] {
        let config = config(&server.url()).invalidation_channel(channel);
        let error = Connections::connect_degraded(&config).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
    }
}

/// Round trips of one small connection, and of nothing else.
struct Counted {
    proxy: FaultProxy,
    node: Node,
    store: RedisStore,
}

impl Counted {
    async fn start(server: &RedisServer) -> Self {
        let proxy = FaultProxy::start(&server.url());
        let quiet = config(&proxy.url(&server.url())).connections(1).heartbeat_interval(NEVER);
        let node = Node::with(quiet).await;
        let store = RedisStore::new(node.connections.clone());
        Self { proxy, node, store }
    }

    async fn round_trips<T>(&self, during: impl Future<Output = T>) -> u64 {
        let before = self.proxy.round_trips();
        during.await;
        self.proxy.round_trips() - before
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_and_its_publication_are_one_round_trip() {
    let server = RedisServer::start();
    let counted = Counted::start(&server).await;
    let mut other = Node::start(&server.url()).await;
    let Counted { node, store, .. } = &counted;
    let keys: Vec<_> = (0..1_000).map(|n| format!("many:{n}")).collect();
    for (what, trips) in [
        (key("k"), 1),
        (Selector::Keys(keys), 1),
        // UNLINK of what a SCAN finds, then PUBLISH.
        (Selector::Prefix("org:".to_owned()), 2),
        (Selector::All, 3),
    ] {
        store.store("k", entry(1)).await.unwrap();
        let remove = async { store.remove_and_tell(&what, &node.bus).await.unwrap() };
        assert_eq!(counted.round_trips(remove).await, trips, "{what:?}");
        assert_eq!(store.fetch("k").await.unwrap().is_none(), what.matches("k"), "{what:?}");
        assert_eq!(other.hears().await, BusEvent::Removed(what));
    }
    let write = async { store.store_and_tell("k", entry(2), &node.bus).await.unwrap() };
    assert_eq!(counted.round_trips(write).await, 1);
    assert_eq!(store.fetch("k").await.unwrap().unwrap().decode::<u64>().unwrap(), 2);
    assert_eq!(other.hears().await, removed("k"));
    assert_eq!(node.bus.stats().published, 5);

    // A bus over other connections: one after the other.
    let remove = async { store.remove_and_tell(&key("k"), &other.bus).await.unwrap() };
    assert_eq!(counted.round_trips(remove).await, 1, "and the other's own for the rest");
    assert!(store.fetch("k").await.unwrap().is_none());
    assert_eq!(other.bus.stats().published, 1);
    assert_eq!(
        counted.round_trips(store.remove_and_tell(&Selector::Keys(vec![]), &node.bus)).await,
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_refused_is_the_callers_error() {
    let server = RedisServer::start();
    let node = Node::start(&server.url()).await;
    let store = RedisStore::new(node.connections.clone());
    server.command(&["CONFIG", "SET", "maxmemory", "1"]);
    let error = store.store_and_tell("k", entry(1), &node.bus).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Backend, "{error}");
    server.command(&["CONFIG", "SET", "maxmemory", "0"]);
    let error = store.remove_and_tell(&key(""), &node.bus).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidKey);

    // Who may write and not publish.
    server.command(&["ACL", "SETUSER", "mute", "on", ">pw", "~*", "&*", "+@all", "-publish"]);
    let url = server.url().replace("redis://", "redis://mute:pw@");
    let mute = Node::start(&url).await;
    let store = RedisStore::new(mute.connections.clone());
    let error = store.store_and_tell("k", entry(1), &mute.bus).await.unwrap_err();
    assert!(error.to_string().contains("NOPERM"), "{error}");
    let error = mute.bus.publish(&key("k")).await.unwrap_err();
    assert!(error.to_string().contains("NOPERM"), "{error}");
    assert_eq!(mute.bus.stats().published, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_not_read_says_that_it_missed_something() {
    let server = RedisServer::start();
    let mut node = Node::start(&server.url()).await;
    let mut late = node.bus.subscribe();
    let told = 1_030;
    for n in 0..told {
        server.command(&["PUBLISH", "cache:invalidate", &n.to_string()]);
    }
    eventually(|| node.bus.stats().received == told).await;
    let last: Vec<_> = (1_025..told).map(|n| removed(&n.to_string())).collect();
    assert_eq!(node.hears().await, BusEvent::Disconnected);
    assert_eq!(node.hears().await, BusEvent::Connected);
    for event in &last {
        assert_eq!(node.hears().await, *event);
    }
    // One that has heard nothing begins as streams begin.
    assert_eq!(late.next().await, Some(BusEvent::Connected));
    assert_eq!(late.next().await, Some(removed("1024")));
    assert_eq!(node.bus.stats().overflows, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_a_bus_that_is_dropped() {
    let server = RedisServer::start();
    let Node { connections, bus, mut events } = Node::start(&server.url()).await;
    let second = bus.clone();
    drop(bus);
    server.command(&["PUBLISH", "cache:invalidate", "k"]);
    assert_eq!(events.next().await, Some(removed("k")), "a handle is left");
    assert_eq!(subscribers(&server), 1);
    drop(second);
    assert_eq!(events.next().await, None);
    eventually(|| subscribers(&server) == 0).await;
    drop(connections);
    eventually(|| !server.command(&["CLIENT", "LIST"]).text().contains("name=cache-redis")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shutting_the_connections_down_ends_the_subscription() {
    let server = RedisServer::start();
    let mut node = Node::start(&server.url()).await;
    node.connections.shutdown().await;
    assert_eq!(node.hears().await, BusEvent::Disconnected);
    eventually(|| subscribers(&server) == 0).await;
    let error = node.bus.publish(&key("k")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(!node.bus.stats().connected);
}
