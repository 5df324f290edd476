//! P2 on a bus that loses messages without a word: numbers tell.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod nodes;
mod sieve;

use std::time::{Duration, Instant};

use cache_core::{BusEvent, CacheStore, Entry, InvalidationBus, Policy, Selector};
use cache_redis::{RedisBus, RedisConfig, RedisStore};
use cache_testkit::servers::{RedisCluster, RedisServer};
use cache_testkit::{drop_after, eventually};
use nodes::{Node, config, key, removed};
use sieve::Sieve;

/// As a service has them.
const INTERVAL: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_millis(500);
/// How soon a loss must be noticed.
const BOUND: Duration = INTERVAL.saturating_add(TIMEOUT);

fn beating(url: &str) -> RedisConfig {
    config(url).heartbeat_interval(INTERVAL).heartbeat_timeout(TIMEOUT)
}

/// Of the messages about `k` alone.
fn is_about(message: &str, name: &str) -> bool {
    message.contains(&format!("[\"{name}\"]"))
}

async fn notices_a_loss(node: &mut Node, what: &str) {
    let since = Instant::now();
    assert_eq!(node.hears().await, BusEvent::Disconnected, "{what}");
    assert_eq!(node.hears().await, BusEvent::Connected, "{what}");
    assert!(since.elapsed() < BOUND, "{what} was noticed after {:?}", since.elapsed());
}

/// For as long as anything of what was told before may still come, nothing does.
async fn hears_nothing(node: &mut Node, what: &str) {
    let heard = tokio::time::timeout(BOUND * 2, node.hears()).await;
    assert!(heard.is_err(), "{what}: {heard:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_the_loss_of_any_message_is_noticed_within_the_bound() {
    let server = RedisServer::start();
    let sieve = Sieve::start(&server.url());
    let a = Node::with(beating(&server.url())).await;
    let mut b = Node::with(beating(&sieve.url())).await;
    sieve.keep(|message| !is_about(message, "lost"));
    // The first that is ever told, and the last for now.
    a.tells(&key("lost")).await;
    notices_a_loss(&mut b, "the first message").await;
    // One among others.
    for name in ["1", "lost", "2"] {
        a.tells(&key(name)).await;
    }
    assert_eq!(b.hears().await, removed("1"));
    assert_eq!(b.hears().await, removed("2"));
    notices_a_loss(&mut b, "one in between").await;
    // In one round trip with the change.
    let store = RedisStore::new(a.connections.clone());
    let entry = Entry::encode(&1_u64, &Policy::ttl(BOUND * 100)).unwrap();
    store.store_and_tell("lost", entry, &a.bus).await.unwrap();
    notices_a_loss(&mut b, "a write").await;
    store.remove_and_tell(&key("lost"), &a.bus).await.unwrap();
    notices_a_loss(&mut b, "a removal").await;
    // A sender that began before the one who listens.
    let mut c = Node::with(beating(&sieve.url())).await;
    a.tells(&key("lost")).await;
    notices_a_loss(&mut b, "for one").await;
    notices_a_loss(&mut c, "for another").await;
    assert_eq!((b.bus.stats().gaps, c.bus.stats().gaps), (5, 1));
    assert_eq!((b.bus.stats().reconnects, b.bus.stats().overflows), (0, 0));
    assert_eq!((a.bus.stats().gaps, a.bus.stats().published), (0, 7));
    assert_eq!(b.bus.stats().received, 2, "marks are not counted");
    hears_nothing(&mut b, "once it is noticed").await;
}

/// A server that does not know the script yet is told before it has written, and again with the write.
#[tokio::test(flavor = "multi_thread")]
async fn p2_the_loss_of_what_is_told_again_with_a_script_is_noticed() {
    let server = RedisServer::start();
    let sieve = Sieve::start(&server.url());
    let a = Node::with(beating(&server.url())).await;
    let mut b = Node::with(beating(&sieve.url())).await;
    let mut first = true;
    sieve.keep(move |message| !is_about(message, "k") || std::mem::take(&mut first));
    let store = RedisStore::new(a.connections.clone());
    server.command(&["SCRIPT", "FLUSH"]);
    let entry = Entry::encode(&1_u64, &Policy::ttl(BOUND * 100)).unwrap();
    store.store_and_tell("k", entry, &a.bus).await.unwrap();
    assert_eq!(b.hears().await, removed("k"));
    notices_a_loss(&mut b, "the one with the write").await;
    hears_nothing(&mut b, "once it is noticed").await;
}

/// Marks get lost as well as anything else.
#[tokio::test(flavor = "multi_thread")]
async fn p2_of_a_bus_that_loses_every_tenth_message_each_loss_is_noticed() {
    let server = RedisServer::start();
    let sieve = Sieve::start(&server.url());
    let a = Node::with(beating(&server.url())).await;
    let mut b = Node::with(beating(&sieve.url())).await;
    let (lose, mut lost) = tokio::sync::mpsc::unbounded_channel();
    let mut count = 0;
    sieve.keep(move |message| {
        count += 1;
        let keeps = count % 10 != 0;
        if !keeps && message.contains("number") {
            lose.send(Instant::now()).unwrap();
        }
        keeps
    });
    let telling = async {
        for n in 0..400 {
            a.tells(&key(&n.to_string())).await;
            // Real time: it tells now and then, for several heartbeats.
            tokio::time::sleep(Duration::from_millis(n % 29)).await;
        }
    };
    let noticing = async {
        let mut noticed = Vec::new();
        while let Ok(event) = tokio::time::timeout(BOUND * 2, b.hears()).await {
            if event == BusEvent::Connected {
                noticed.push(Instant::now());
            }
        }
        noticed
    };
    let ((), noticed) = tokio::join!(telling, noticing);
    let mut losses = 0;
    while let Ok(at) = lost.try_recv() {
        losses += 1;
        let after = noticed.iter().find(|noticed| **noticed >= at).unwrap();
        assert!(*after - at < BOUND, "noticed after {:?}", *after - at);
    }
    assert!(losses >= 20, "{losses} losses");
    // Two that follow each other at once are one to a stream that was not read in between.
    assert!(b.bus.stats().gaps as usize >= noticed.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_lost_makes_nobody_forget() {
    let server = RedisServer::start();
    let (mut a, mut b) =
        (Node::with(beating(&server.url())).await, Node::with(beating(&server.url())).await);
    server.command(&["ACL", "SETUSER", "mute", "on", ">pw", "~*", "&*", "+@all", "-publish"]);
    let mute = Node::with(beating(&server.url().replace("redis://", "redis://mute:pw@"))).await;
    let publish = |message: &str| server.command(&["PUBLISH", "cache:invalidate", message]);
    // Twice, without a number, from others, out of order.
    for message in [
        r#"{"v":1,"from":"00000000000000aa","number":7,"removed":{"keys":["x"]}}"#,
        r#"{"v":1,"from":"00000000000000aa","number":9,"removed":{"keys":["x"]}}"#,
        r#"{"v":1,"from":"00000000000000aa","number":9,"removed":{"keys":["x"]}}"#,
        r#"{"v":1,"from":"00000000000000aa","number":8,"removed":{"keys":["x"]}}"#,
        r#"{"v":1,"from":"00000000000000aa","removed":{"keys":["x"]}}"#,
        r#"{"v":1,"removed":{"keys":["x"]}}"#,
        "x",
    ] {
        publish(message);
        assert_eq!(a.hears().await, removed("x"));
        assert_eq!(b.hears().await, removed("x"));
    }
    // Several messages of one removal, several senders at once.
    let many = Selector::Keys((0..1_500).map(|n| format!("{n:0>1000}")).collect());
    a.tells(&many).await;
    for n in 0..500 {
        let name = n.to_string();
        let names = [key(&name), key(&name)];
        tokio::join!(a.tells(&names[0]), a.tells(&names[1]), b.tells(&names[0]));
    }
    // A sender that starts anew, or ends.
    let again = a.connections.clone();
    drop(InvalidationBus::publish(&a.bus, &key("last")).await);
    let second = RedisBus::new(again).unwrap();
    InvalidationBus::publish(&second, &key("first")).await.unwrap();
    // Publications that fail, and those whose callers go away.
    for _ in 0..10 {
        InvalidationBus::publish(&mute.bus, &key("no")).await.unwrap_err();
        let dropped = InvalidationBus::publish(&a.bus, &Selector::All);
        drop(drop_after(0, dropped).await);
        let dropped = InvalidationBus::publish(&a.bus, &Selector::All);
        drop(drop_after(1, dropped).await);
    }
    a.tells(&key("after")).await;
    loop {
        match b.hears().await {
            BusEvent::Removed(what) if what == key("after") => break,
            event => assert!(matches!(event, BusEvent::Removed(_)), "{event:?}"),
        }
    }
    hears_nothing(&mut b, "when all is told").await;
    while let Ok(event) = tokio::time::timeout(BOUND, a.hears()).await {
        assert!(matches!(event, BusEvent::Removed(_)), "{event:?}");
    }
    assert_eq!((a.bus.stats().gaps, b.bus.stats().gaps, mute.bus.stats().gaps), (0, 0, 0));
    assert_eq!(b.bus.stats().unreadable, 0);
}

/// As the copy of a virtual machine does: neither hears the other.
#[tokio::test(flavor = "multi_thread")]
async fn p2_a_bus_whose_name_another_uses_takes_a_new_one() {
    let server = RedisServer::start();
    let sieve = Sieve::start(&server.url());
    let (say, mut said) = tokio::sync::mpsc::unbounded_channel();
    sieve.keep(move |message| {
        let from = message.split_once(r#""from":""#).map(|(_, rest)| rest[..16].to_owned());
        from.is_none_or(|from| say.send(from).is_ok())
    });
    let mut a = Node::with(beating(&sieve.url())).await;
    let name = |said: &mut tokio::sync::mpsc::UnboundedReceiver<String>| {
        std::iter::from_fn(|| said.try_recv().ok()).last()
    };
    a.tells(&key("own")).await;
    eventually(|| a.bus.stats().own == 1).await;
    let first = name(&mut said).unwrap();
    let by_the_other = |number: u64| {
        let rest = format!(r#""number":{number},"removed":{{"keys":["x"]}}}}"#);
        let message = format!(r#"{{"v":1,"from":"{first}",{rest}"#);
        server.command(&["PUBLISH", "cache:invalidate", &message]);
    };
    by_the_other(1);
    eventually(|| a.bus.stats().own == 2).await;
    assert_eq!(a.bus.stats().gaps, 0, "its own may come twice");
    by_the_other(2);
    notices_a_loss(&mut a, "a number that was not given").await;
    by_the_other(3);
    assert_eq!(a.hears().await, removed("x"));
    let own = a.bus.stats().own;
    name(&mut said);
    a.tells(&key("own")).await;
    eventually(|| a.bus.stats().own > own).await;
    assert_ne!(name(&mut said).unwrap(), first);
    assert_eq!(a.bus.stats().gaps, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_sender_says_nothing() {
    let server = RedisServer::start();
    let a = Node::with(beating(&server.url())).await;
    a.tells(&key("k")).await;
    // Real time: until what it has to say is said, which is three marks.
    tokio::time::sleep(BOUND * 2).await;
    assert_eq!(server.commandstats()["publish"], 1 + 3);
    // Real time: in which another would be said, if it went on.
    tokio::time::sleep(BOUND).await;
    assert_eq!(server.commandstats()["publish"], 1 + 3);
    assert_eq!((a.bus.stats().published, a.bus.stats().own), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_cluster_order_is_not_missed() {
    let cluster = RedisCluster::start(3);
    let (a, mut b) =
        (Node::with(beating(&cluster.url())).await, Node::with(beating(&cluster.url())).await);
    for n in 0..500 {
        let names = [key(&n.to_string()), key("x")];
        tokio::join!(a.tells(&names[0]), a.tells(&names[1]));
    }
    for _ in 0..1_000 {
        let event = b.hears().await;
        assert!(matches!(event, BusEvent::Removed(_)), "{event:?}");
    }
    hears_nothing(&mut b, "in a cluster").await;
    assert_eq!(b.bus.stats().gaps, 0);
}
