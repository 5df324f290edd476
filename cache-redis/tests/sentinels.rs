//! What sentinels name as the primary, where they or the servers have not all heard of it yet.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is how a test fails")]

mod scenario;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use cache_core::{BusEvent, CacheServiceExt, InvalidationBus, Selector};
use cache_redis::{Call, Connections, Lane, RedisBus, RedisCacheService, Retry};
use cache_testkit::eventually_async;
use cache_testkit::servers::{FaultProxy, RedisSentinel, RedisServer};
use futures_util::StreamExt;
use scenario::{LASTING, config, connect};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// A sentinel that names `port`, as it is then, to whoever asks.
async fn sentinel_that_names(port: Arc<AtomicU16>) -> (SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (addr, mut serving) = (listener.local_addr().unwrap(), JoinSet::new());
    serving.spawn(async move {
        let mut clients = JoinSet::new();
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let port = Arc::clone(&port);
            clients.spawn(async move {
                let mut asked = vec![0; 1024];
                while let Ok(bytes @ 1..) = client.read(&mut asked).await {
                    let port = port.load(Ordering::Relaxed).to_string();
                    let primary = format!("*2\r\n$9\r\n127.0.0.1\r\n${}\r\n{port}\r\n", port.len());
                    let asked = String::from_utf8_lossy(&asked[..bytes]).into_owned();
                    let answers =
                        [("PING", "+PONG\r\n"), ("SETNAME", "+OK\r\n"), ("GET-MASTER", &primary)];
                    let said = answers.into_iter().filter(|(question, _)| asked.contains(question));
                    let said: String = said.map(|(_, answer)| answer).collect();
                    client.write_all(said.as_bytes()).await.unwrap();
                }
            });
        }
    });
    (addr, serving)
}

/// It may be left over, or cut off with a primary that is gone, and be the quickest to answer.
#[tokio::test(flavor = "multi_thread")]
async fn p5_10_a_quick_sentinel_that_is_wrong_keeps_nobody_from_the_primary() {
    let servers = RedisSentinel::start();
    let right = FaultProxy::start(&servers.sentinels()[0].addr().to_string());
    right.latency(Duration::from_millis(10));
    for wrong in [1, servers.replica().port()] {
        let (quick, _serving) = sentinel_that_names(Arc::new(AtomicU16::new(wrong))).await;
        let url =
            format!("redis-sentinel://{quick}?sentinelServiceName=main&node={}", right.addr());
        let connections = Connections::connect(&config(&url)).await.unwrap();
        let mut set = redis::cmd("SET");
        set.arg("key").arg("1");
        connections.query::<()>(Call::new(Lane::Small).retry(Retry::Once), &set).await.unwrap();
        let bus = RedisBus::new(connections).unwrap();
        let mut events = bus.subscribe();
        let first = timeout(Duration::from_secs(5), events.next()).await.expect("it subscribes");
        assert_eq!(first, Some(BusEvent::Connected));
    }
}

/// Two servers that both go on as primaries, and a sentinel that names the first until it is told otherwise.
struct Failover {
    former: RedisServer,
    new: RedisServer,
    named: Arc<AtomicU16>,
    url: String,
    _serving: JoinSet<()>,
}

impl Failover {
    async fn start() -> Self {
        let (former, new) = (RedisServer::start(), RedisServer::start());
        let named = Arc::new(AtomicU16::new(former.port()));
        let (sentinel, _serving) = sentinel_that_names(Arc::clone(&named)).await;
        let url = format!("redis-sentinel://{sentinel}?sentinelServiceName=main");
        Self { former, new, named, url, _serving }
    }

    fn name_the_new(&self) {
        self.named.store(self.new.port(), Ordering::Relaxed);
    }
}

/// The ids of a server's clients of this library.
fn links(server: &RedisServer) -> Vec<String> {
    let list = server.command(&["CLIENT", "LIST"]).text();
    let ours = list.lines().filter(|line| line.contains("name=cache-redis"));
    ours.filter_map(|line| Some(line.strip_prefix("id=")?.split(' ').next()?.to_owned())).collect()
}

/// A removal that returned `Ok` would else be of the one, and the read after it of the other.
#[tokio::test(flavor = "multi_thread")]
async fn p5_10_all_connections_go_where_one_was_named_another_primary() {
    let servers = Failover::start().await;
    for server in [&servers.former, &servers.new] {
        connect(&server.url()).await.set("p1", &1_u64, LASTING).await.unwrap();
    }
    connect(&servers.new.url()).await.set("new", &1_u64, LASTING).await.unwrap();
    let cache: RedisCacheService = connect(&servers.url).await;
    // Those through which it was filled have gone then.
    eventually_async(async || links(&servers.former).len() == 4).await;
    let first = links(&servers.former);
    servers.name_the_new();
    servers.former.command(&["CLIENT", "KILL", "ID", &first[0]]);
    eventually_async(async || cache.get::<u64>("new").await.is_ok_and(|found| found.is_some()))
        .await;
    eventually_async(async || cache.invalidate_prefix("p").await.is_ok()).await;
    assert_eq!(cache.get::<u64>("p1").await.unwrap(), None);
    eventually_async(async || (links(&servers.former).len(), links(&servers.new).len()) == (0, 4))
        .await;
}

/// Others tell of their removals on the new one.
#[tokio::test(flavor = "multi_thread")]
async fn p5_10_the_bus_goes_where_a_connection_was_named_another_primary() {
    let servers = Failover::start().await;
    let connections = Connections::connect(&config(&servers.url)).await.unwrap();
    let bus = RedisBus::new(connections).unwrap();
    let mut events = bus.subscribe();
    let mut next =
        async || timeout(Duration::from_secs(10), events.next()).await.expect("an event");
    assert_eq!(next().await, Some(BusEvent::Connected));
    servers.name_the_new();
    // Not those who listen.
    servers.former.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    assert_eq!(next().await, Some(BusEvent::Disconnected));
    assert_eq!(next().await, Some(BusEvent::Connected));
    servers.new.command(&["PUBLISH", "app:invalidate", "k"]);
    assert_eq!(next().await, Some(BusEvent::Removed(Selector::key("k"))));
}
