//! Every way to reach a Redis: socket, TLS, user, database, cluster, sentinels.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is how a test fails")]
#![allow(clippy::print_stdout, reason = "figures, for whoever asks with --nocapture")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cache_core::{CacheError, ErrorKind};
use cache_redis::{Call, Connections, Lane, RedisConfig, Retry, Script, slot};
use cache_testkit::eventually;
use cache_testkit::servers::{RedisCluster, RedisSentinel, RedisServer, Reply};

const SMALL: Call = Call::new(Lane::Small);
const AGAIN: Call = SMALL.retry(Retry::Once);
/// The budget of one operation, and what a busy machine adds to it.
const BOUND: Duration = Duration::from_millis(250 + 100);

async fn connect(url: &str) -> Connections {
    Connections::connect(&RedisConfig::from_url(url).unwrap()).await.unwrap()
}

async fn set(connections: &Connections, key: &str, value: &str) -> Result<(), CacheError> {
    let mut set = redis::cmd("SET");
    set.arg(key).arg(value);
    connections.query(AGAIN, &set).await
}

async fn get(connections: &Connections, key: &str) -> Result<Option<String>, CacheError> {
    let mut get = redis::cmd("GET");
    get.arg(key);
    connections.query(AGAIN, &get).await
}

/// How long until `call` succeeds.
async fn until<T>(
    limit: Duration,
    mut call: impl AsyncFnMut() -> Result<T, CacheError>,
) -> Duration {
    let start = Instant::now();
    loop {
        let begun = Instant::now();
        let answer = call().await;
        assert!(begun.elapsed() < BOUND, "took {:?}", begun.elapsed());
        match answer {
            Ok(_) => return start.elapsed(),
            Err(error) => assert!(start.elapsed() < limit, "{error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_unix_socket() {
    let server = RedisServer::builder().unix_socket().password("s%c/ret").start();
    let path = server.socket_path().unwrap();
    let url = format!("redis+unix://{}?db=3&pass=s%25c%2Fret", path.display());
    let connections = connect(&url).await;
    set(&connections, "key", "value").await.unwrap();
    assert!(server.info("keyspace")["db3"].starts_with("keys=1,"));
}

#[tokio::test]
async fn a_user_a_database_and_what_is_refused() {
    let user = "user app on >pa:ss@w/rd ~* +@all";
    let server = RedisServer::builder().password("admin").config(user).start();
    let addr = server.addr();
    let connections = connect(&format!("redis://app:pa%3Ass%40w%2Frd@{addr}/2")).await;
    set(&connections, "key", "value").await.unwrap();
    assert!(server.info("keyspace")["db2"].starts_with("keys=1,"));
    let list = server.command(&["CLIENT", "LIST"]).text();
    assert_eq!(list.lines().filter(|line| line.contains("user=app")).count(), 4, "{list}");

    for (login, db, says) in [
        ("app:wrong-secret@", 0, "refuses the user name or password"),
        ("", 0, "asks for a password"),
        ("app:pa%3Ass%40w%2Frd@", 99, "refuses database 99"),
    ] {
        let url = format!("redis://{login}{addr}/{db}");
        let begun = Instant::now();
        let error = Connections::connect(&RedisConfig::from_url(&url).unwrap())
            .await
            .expect_err("it must be refused");
        assert!(begun.elapsed() < Duration::from_secs(2));
        let text = format!("{error} {error:?}");
        assert!(text.contains(says) && text.contains(&addr.to_string()), "{text}");
        assert!(!text.contains("wrong-secret") && !text.contains("pa:ss"), "{text}");
    }
}

#[tokio::test]
async fn tls_with_a_private_authority() {
    let (server, plain) = (RedisServer::builder().tls().start(), RedisServer::start());
    let tls = server.port();
    for host in ["127.0.0.1", "localhost"] {
        let config = RedisConfig::from_url(&format!("rediss://{host}:{tls}")).unwrap();
        let trusting = config.clone().ca_certificate(server.ca_pem());
        let connections = Connections::connect(&trusting).await.unwrap();
        set(&connections, "key", "value").await.unwrap();
        let big = "x".repeat(2 << 20);
        set(&connections, "big", &big).await.unwrap();
        assert_eq!(get(&connections, "big").await.unwrap(), Some(big));

        let begun = Instant::now();
        let error = Connections::connect(&config).await.expect_err("the authority is not known");
        assert!(begun.elapsed() < Duration::from_secs(2));
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(&format!("{host}:{tls}: TLS failed")), "{error}");
    }
    let bad = RedisConfig::from_url(&format!("rediss://127.0.0.1:{tls}")).unwrap();
    let error = Connections::connect(&bad.ca_certificate("no pem")).await.expect_err("no PEM");
    assert_eq!(error.kind(), ErrorKind::Config);
    // TLS to a port that does not speak it, and the other way round.
    let url = format!("rediss://{}", plain.addr());
    assert!(Connections::connect(&RedisConfig::from_url(&url).unwrap()).await.is_err());
    let url = format!("redis://127.0.0.1:{tls}");
    let begun = Instant::now();
    assert!(Connections::connect(&RedisConfig::from_url(&url).unwrap()).await.is_err());
    assert!(begun.elapsed() < Duration::from_secs(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_of_three() {
    let cluster = RedisCluster::start(3);
    let nodes = cluster.nodes();
    let url = format!("redis-cluster://{}?node={}", nodes[1].addr(), nodes[2].addr());
    let connections = connect(&url).await;
    assert!(connections.is_cluster());
    for n in 0..200 {
        set(&connections, &format!("key{n}"), &n.to_string()).await.unwrap();
    }
    for n in 0..200 {
        assert_eq!(get(&connections, &format!("key{n}")).await.unwrap(), Some(n.to_string()));
    }
    let script =
        Script::new("redis.call('SET', KEYS[1], ARGV[1]) return redis.call('GET', KEYS[1])");
    for n in 0..30 {
        let key = format!("script{n}");
        let value: String =
            connections.script(SMALL, &script, &[&key], &[b"by script"]).await.unwrap();
        assert_eq!(value, "by script");
    }
    let keys: Vec<String> =
        (0..5_000).map(|n| format!("key{n}")).filter(|key| slot(key) < 1_000).collect();
    let mut pipeline = redis::pipe();
    for key in &keys[..10] {
        if slot(key) == slot(&keys[0]) {
            pipeline.cmd("SET").arg(key).arg("p");
        }
    }
    let replies = connections.pipeline(AGAIN, &pipeline).await.unwrap();
    assert_eq!(replies.len(), pipeline.len());

    let primaries = connections.primaries().await.unwrap();
    assert_eq!(primaries.len(), 3);
    let mut seen = 0;
    for primary in &primaries {
        let mut cursor = 0;
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg("key*").arg("COUNT").arg(100);
            let (next, page): (u64, Vec<String>) =
                primary.query(Call::new(Lane::Scan).retry(Retry::Once), &scan).await.unwrap();
            seen += page.len();
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
    }
    assert!(seen >= 200, "{seen}");
    assert!(connections.clock_uncertainty().is_some());
    assert!(connections.offset_micros().abs() < 50_000);

    let url = url.replace("://", "://:sekret@");
    let refused = Connections::connect(&RedisConfig::from_url(&url).unwrap()).await;
    let refused = refused.expect_err("the cluster has no password");
    assert_eq!(refused.kind(), ErrorKind::Config);
    let text = format!("{refused} {refused:?}");
    assert!(text.contains("refuses the user name or password"), "{text}");
    assert!(!text.contains("sekret"), "{text}");

    let count = |node: &RedisServer| node.command(&["CLIENT", "LIST"]).text().lines().count() - 1;
    // Two small, one bulk, one for scans, each with one connection per node. The server may take a
    // moment to notice that those without the right password have hung up.
    eventually(|| nodes.iter().all(|node| count(node) == 4)).await;
    connections.shutdown().await;
    eventually(|| nodes.iter().all(|node| count(node) == 0)).await;
}

#[derive(Debug, Default)]
struct Seen {
    calls: u32,
    failed: u32,
    slow: u32,
    worst: Duration,
    faults: std::collections::BTreeMap<String, u32>,
}

impl Seen {
    fn note(&mut self, took: Duration, answer: Result<(), CacheError>) {
        self.calls += 1;
        self.slow += u32::from(took > Duration::from_millis(50));
        self.worst = self.worst.max(took);
        if let Err(error) = answer {
            self.failed += 1;
            *self.faults.entry(error.to_string()).or_default() += 1;
        }
    }

    fn add(&mut self, other: Self) {
        self.calls += other.calls;
        self.failed += other.failed;
        self.slow += other.slow;
        self.worst = self.worst.max(other.worst);
        for (fault, count) in other.faults {
            *self.faults.entry(fault).or_default() += count;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_11_a_cluster_node_is_lost() {
    let cluster = RedisCluster::builder()
        .replicas(1)
        .config("cluster-node-timeout 600")
        .config("cluster-require-full-coverage no")
        .config("cluster-replica-validity-factor 0")
        .start();
    let nodes = cluster.nodes();
    let connections = connect(&format!("redis-cluster://{}", nodes[1].addr())).await;
    // foo is in slot 12182, the third node's; bar in 5061, the first's.
    set(&connections, "foo", "1").await.unwrap();
    set(&connections, "bar", "1").await.unwrap();
    for (lost, kill) in [(2, true), (0, false)] {
        let (mine, other) = if lost == 2 { ("foo", "bar") } else { ("bar", "foo") };
        if kill {
            nodes[lost].kill();
        } else {
            nodes[lost].pause();
        }
        let replica = &nodes[lost + 3];
        let begun = Instant::now();
        let over = Arc::new(AtomicBool::new(false));
        let load = |key: &'static str, tasks: usize| {
            let (connections, over) = (connections.clone(), over.clone());
            let one = async move |connections: Connections, over: Arc<AtomicBool>| {
                let mut seen = Seen::default();
                while !over.load(Ordering::Relaxed) {
                    let call = Instant::now();
                    let answer = set(&connections, key, "2").await;
                    seen.note(call.elapsed(), answer);
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                seen
            };
            let tasks: Vec<_> =
                (0..tasks).map(|_| tokio::spawn(one(connections.clone(), over.clone()))).collect();
            async move {
                let mut seen = Seen::default();
                for task in tasks {
                    seen.add(task.await.unwrap());
                }
                seen
            }
        };
        let (on_lost, on_other) = (load(mine, 4), load(other, 4));
        while replica.info("replication")["role"] != "master" {
            assert!(begun.elapsed() < Duration::from_secs(20), "no failover");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let promoted = begun.elapsed();
        let healed =
            until(Duration::from_secs(4), async || set(&connections, mine, "3").await).await;
        over.store(true, Ordering::Relaxed);
        let (on_lost, on_other) = (on_lost.await, on_other.await);
        println!(
            "node {lost} lost (killed: {kill}): promoted after {promoted:?}, healed {healed:?} later"
        );
        println!("  on it: {on_lost:?}\n  on the others: {on_other:?}");
        let worst = on_lost.worst.max(on_other.worst);
        assert!(worst < BOUND, "{worst:?}");
    }
}

/// Nodes that do not say under which name they are to be found: under the one they were asked at.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_whose_nodes_do_not_tell_their_host() {
    let endpoint = "cluster-preferred-endpoint-type unknown-endpoint";
    let nodes = RedisCluster::builder().config(endpoint).start();
    let connections = connect(&nodes.url()).await;
    for key in ["a", "b", "c", "d"] {
        set(&connections, key, "1").await.expect("a primary that takes it");
    }
    let (mut keys, primaries) = (0, connections.primaries().await.expect("primaries"));
    assert_eq!(primaries.len(), 3);
    for primary in primaries {
        let size = primary.query::<usize>(Call::new(Lane::Scan), &redis::cmd("DBSIZE")).await;
        keys += size.expect("an answer");
    }
    assert_eq!(keys, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_10_sentinels_name_the_primary() {
    let servers = RedisSentinel::start();
    let (primary, replica) = (servers.primary(), servers.replica());
    // The first sentinel is not there.
    let sentinel = servers.sentinels()[0].addr();
    let url = format!("redis-sentinel://127.0.0.1:1?sentinelServiceName=main&node={sentinel}");
    let connections = connect(&url).await;
    set(&connections, "key", "1").await.unwrap();
    let list = primary.command(&["CLIENT", "LIST"]).text();
    assert_eq!(list.lines().filter(|l| l.contains("name=cache-redis")).count(), 4, "{list}");

    primary.kill();
    let begun = Instant::now();
    let is_promoted = |info: Reply| info.text().contains("role:master");
    while !replica.try_command(&["INFO", "replication"]).is_ok_and(is_promoted) {
        let call = Instant::now();
        assert!(set(&connections, "key", "2").await.is_err());
        assert!(call.elapsed() < BOUND);
        assert!(begun.elapsed() < Duration::from_secs(15), "no failover");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    println!("promoted after {:?}", begun.elapsed());
    let healed = until(Duration::from_secs(3), async || set(&connections, "key", "3").await).await;
    println!("sentinel failover healed {healed:?} after the promotion");
    assert_eq!(get(&connections, "key").await.unwrap(), Some("3".to_owned()));

    let wrong = url.replace("=main", "=other");
    let error = Connections::connect(&RedisConfig::from_url(&wrong).unwrap()).await;
    let error = error.expect_err("no such primary");
    assert!(error.to_string().contains("no primary named \"other\""), "{error}");
}

#[tokio::test]
async fn a_default_ttl_with_which_nothing_would_be_stored_is_refused() {
    let config = RedisConfig::from_url("redis://127.0.0.1:1").unwrap();
    for ttl in [Duration::ZERO, Duration::from_micros(999)] {
        let error = Connections::connect_degraded(&config.clone().default_ttl(ttl)).err();
        let error = error.expect("nothing would be stored");
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("default_ttl is"), "{error}");
    }
    assert!(Connections::connect_degraded(&config.default_ttl(Duration::from_millis(1))).is_ok());
}
