//! What a channel hears, and what it can say of when it was said.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "how a test fails")]

use std::time::Duration;

use cache_core::{ErrorKind, Timestamp};
use cache_redis::{Channel, ChannelEvent, Connections, RedisConfig};
use cache_testkit::{FaultProxy, RedisCluster, RedisServer, eventually};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

#[derive(Debug, PartialEq, Eq)]
enum Heard {
    Connected,
    Disconnected,
    /// The payload, and a moment before it was published.
    Message(String, Option<Timestamp>),
}

fn config(url: &str) -> RedisConfig {
    RedisConfig::from_url(url).unwrap().heartbeat_interval(Duration::from_millis(50))
}

async fn listen(url: &str) -> (Channel, UnboundedReceiver<Heard>) {
    let connections = Connections::connect(&config(url)).await.unwrap();
    let (tell, told) = unbounded_channel();
    let channel = Channel::listen(&connections, "news", move |event| {
        let heard = match event {
            ChannelEvent::Connected => Heard::Connected,
            ChannelEvent::Disconnected => Heard::Disconnected,
            ChannelEvent::Message { payload, published_after } => {
                Heard::Message(String::from_utf8_lossy(payload).into_owned(), published_after)
            }
            _ => return,
        };
        let _ = tell.send(heard);
    });
    (channel.unwrap(), told)
}

/// Publishes when it is published, by the server's clock, which is this machine's.
fn publish(server: &RedisServer) {
    let code = "local now = redis.call('TIME') \
                return redis.call('PUBLISH', 'news', now[1] .. string.format('%06d', now[2]))";
    assert_eq!(server.command(&["EVAL", code, "0"]).integer(), 1);
}

/// How long before its publication the bound lies: not negative, or it was none.
async fn slack(told: &mut UnboundedReceiver<Heard>) -> Duration {
    let Some(Heard::Message(payload, after)) = told.recv().await else { panic!("no message") };
    let published = Timestamp::from_micros(payload.parse().unwrap());
    let after = after.expect("one server: its order is known");
    // The two clocks are read in different processes and steered while they run.
    assert!(after <= published + Duration::from_millis(1), "{after:?} > {published:?}");
    after.until(published)
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_heard_in_order_with_a_bound_on_their_age() {
    let server = RedisServer::start();
    let (channel, mut told) = listen(&server.url()).await;
    assert_eq!(told.recv().await, Some(Heard::Connected));
    // The first question was answered when the subscription was confirmed, or just after.
    for number in 0..100 {
        server.command(&["PUBLISH", "news", &number.to_string()]);
        let Some(Heard::Message(payload, _)) = told.recv().await else { panic!("no message") };
        assert_eq!(payload, number.to_string());
    }
    // Questions go on being asked: the bound does not grow with the subscription's age.
    for _ in 0..20 {
        // Real time, as the heartbeat's.
        tokio::time::sleep(Duration::from_millis(20)).await;
        publish(&server);
        let slack = slack(&mut told).await;
        assert!(slack < Duration::from_secs(1), "{slack:?}");
    }
    drop(channel);
    eventually(|| server.command(&["PUBLISH", "news", "nobody"]).integer() == 0).await;
}

/// Whatever is late, answers, messages or both: no message is taken for younger than it is.
#[tokio::test(flavor = "multi_thread")]
async fn the_bound_holds_when_the_network_and_the_server_hang() {
    let server = RedisServer::start();
    let proxy = FaultProxy::start(&server.url());
    let (_channel, mut told) = listen(&proxy.url(&server.url())).await;
    assert_eq!(told.recv().await, Some(Heard::Connected));
    let mut random = fastrand::Rng::with_seed(7);
    let mut below = |millis| Duration::from_millis(random.u64(..millis));
    // Real time: so that the first questions have been answered.
    tokio::time::sleep(Duration::from_millis(60)).await;
    for round in 0..60 {
        proxy.latency(below(60));
        match round % 3 {
            0 => {
                // Real time: what is late is what this is about. Shorter than the patience.
                server.pause();
                tokio::time::sleep(below(100)).await;
                server.resume();
            }
            // Real time, as the heartbeat's: questions and messages meet at every distance.
            1 => tokio::time::sleep(below(60)).await,
            _ => {}
        }
        publish(&server);
        slack(&mut told).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_subscription_is_told_and_made_anew() {
    let server = RedisServer::start();
    let (channel, mut told) = listen(&server.url()).await;
    assert_eq!(told.recv().await, Some(Heard::Connected));
    server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    assert_eq!(told.recv().await, Some(Heard::Disconnected));
    assert!(channel.last_fault().is_some());
    assert_eq!(told.recv().await, Some(Heard::Connected));
    server.command(&["PUBLISH", "news", "again"]);
    assert!(matches!(told.recv().await, Some(Heard::Message(payload, _)) if payload == "again"));
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_cluster_nothing_is_known_of_a_messages_age() {
    let cluster = RedisCluster::start(3);
    let (channel, mut told) = listen(&cluster.url()).await;
    assert_eq!(told.recv().await, Some(Heard::Connected));
    cluster.node(1).command(&["PUBLISH", "news", "x"]);
    assert_eq!(told.recv().await, Some(Heard::Message("x".to_owned(), None)));
    drop(channel);
}

#[test]
fn listening_needs_a_runtime() {
    let server = RedisServer::start();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let connections = runtime.block_on(Connections::connect(&config(&server.url()))).unwrap();
    let error = Channel::listen(&connections, "news", |_| {}).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
}
