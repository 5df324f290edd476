//! Clusters and sentinels come up, lose members and recover.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "all of it is tests, helpers included"
)]

use std::path::Path;
use std::time::{Duration, Instant};

use cache_testkit::{RedisCluster, RedisSentinel, RedisServer, Reply};

/// A key of each third of the slots, and which primary of three has it.
const KEYS: [(&str, usize); 3] = [("b", 0), ("c", 1), ("a", 2)];

fn exists(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

fn pids(servers: &[RedisServer]) -> Vec<u32> {
    servers.iter().map(RedisServer::pid).collect()
}

fn state(node: &RedisServer) -> String {
    let info = node.command(&["CLUSTER", "INFO"]).text();
    info.lines().next().unwrap().to_owned()
}

fn eventually(mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_cluster_starts_in_less_than_a_second_and_takes_every_key() {
    let start = Instant::now();
    let cluster = RedisCluster::start(3);
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    let ports: Vec<u16> = cluster.nodes().iter().map(RedisServer::port).collect();
    let url = format!(
        "redis-cluster://127.0.0.1:{}?node=127.0.0.1:{}&node=127.0.0.1:{}",
        ports[0], ports[1], ports[2]
    );
    assert_eq!(cluster.url(), url);
    for (key, number) in KEYS {
        assert_eq!(cluster.node_for(key).port(), ports[number]);
        for node in cluster.nodes() {
            let reply = node.try_command(&["SET", key, "value"]).unwrap();
            if node.port() == ports[number] {
                assert_eq!(reply, "OK");
            } else {
                assert!(matches!(reply, Reply::Error(error) if error.starts_with("MOVED ")));
            }
        }
    }
    for node in cluster.nodes() {
        assert_eq!(state(node), "cluster_state:ok");
        let nodes = node.command(&["CLUSTER", "NODES"]).text();
        assert_eq!(nodes.lines().count(), 3, "{nodes}");
        assert_eq!(nodes.matches("master").count(), 3, "{nodes}");
        assert_eq!(node.command(&["DBSIZE"]).integer(), 1);
    }
    cluster.flush();
    assert!(cluster.nodes().iter().all(|node| node.command(&["DBSIZE"]).integer() == 0));
    let pids = pids(cluster.nodes());
    drop(cluster);
    assert!(!pids.into_iter().any(exists));
}

#[test]
fn a_cluster_of_one_and_of_five() {
    for primaries in [1, 5] {
        let cluster = RedisCluster::start(primaries);
        for n in 0..50 {
            let key = format!("key{n}");
            assert_eq!(cluster.node_for(&key).command(&["SET", &key, "value"]), "OK");
        }
    }
}

#[test]
fn a_cluster_loses_a_node_and_gets_it_back() {
    let cluster = RedisCluster::start(3);
    cluster.node(1).kill();
    eventually(|| state(cluster.node(0)) == "cluster_state:fail");
    cluster.node(1).restart();
    cluster.wait_until_ok();
    for (key, number) in KEYS {
        assert_eq!(cluster.node_for(key).port(), cluster.node(number).port());
        assert_eq!(cluster.node_for(key).command(&["SET", key, "value"]), "OK");
    }

    cluster.node(2).pause();
    eventually(|| state(cluster.node(0)) == "cluster_state:fail");
    cluster.node(2).resume();
    cluster.wait_until_ok();
}

#[test]
fn without_full_coverage_the_other_slots_are_served() {
    let cluster = RedisCluster::builder().config("cluster-require-full-coverage no").start();
    cluster.node(1).kill();
    eventually(|| cluster.node(0).command(&["CLUSTER", "NODES"]).text().contains("fail "));
    assert_eq!(state(cluster.node(0)), "cluster_state:ok");
    assert_eq!(cluster.node(0).command(&["SET", KEYS[0].0, "value"]), "OK");
}

#[test]
fn a_replica_takes_over_in_a_cluster() {
    let cluster = RedisCluster::builder().replicas(1).start();
    assert_eq!(cluster.nodes().len(), 6);
    let (key, number) = KEYS[1];
    cluster.node_for(key).command(&["SET", key, "value"]);
    cluster.wait_until_ok();
    cluster.node(number).kill();
    eventually(|| cluster.node_for(key).port() == cluster.node(3 + number).port());
    cluster.wait_until_ok();
    assert_eq!(cluster.node_for(key).command(&["GET", key]), "value");
}

#[test]
fn a_sentinel_starts_in_less_than_a_second_and_knows_its_servers() {
    let start = Instant::now();
    let sentinel = RedisSentinel::start();
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    let port = sentinel.sentinels()[0].port();
    assert_eq!(
        sentinel.url(),
        format!("redis-sentinel://127.0.0.1:{port}/0?sentinelServiceName=main")
    );
    assert_eq!(sentinel.primary().command(&["SET", "key", "value"]), "OK");
    sentinel.wait_until_in_step();
    assert_eq!(sentinel.replica().command(&["GET", "key"]), "value");
    let refused = sentinel.replica().try_command(&["SET", "key", "value"]).unwrap();
    assert!(matches!(refused, Reply::Error(error) if error.starts_with("READONLY")));

    let pids = [sentinel.primary().pid(), sentinel.replica().pid(), sentinel.sentinels()[0].pid()];
    drop(sentinel);
    assert!(!pids.into_iter().any(exists));
}

#[test]
fn roles_are_exchanged_and_back() {
    let sentinel = RedisSentinel::start();
    let (first, second) = (sentinel.primary().port(), sentinel.replica().port());
    sentinel.primary().command(&["SET", "key", "value"]);
    sentinel.failover();
    assert_eq!((sentinel.primary().port(), sentinel.replica().port()), (second, first));
    assert_eq!(sentinel.primary().command(&["GET", "key"]), "value");
    sentinel.failover();
    assert_eq!((sentinel.primary().port(), sentinel.replica().port()), (first, second));
}

#[test]
fn a_killed_primary_is_replaced_and_comes_back_as_a_replica() {
    let sentinel = RedisSentinel::start();
    sentinel.primary().command(&["SET", "key", "value"]);
    sentinel.wait_until_in_step();
    let killed = sentinel.kill_primary();
    let primary = sentinel.wait_until_promoted();
    assert_ne!(primary.port(), killed.port());
    assert_eq!(primary.command(&["GET", "key"]), "value");
    assert_eq!(primary.command(&["SET", "key", "new"]), "OK");

    killed.restart();
    sentinel.wait_until_in_step();
    assert_eq!(sentinel.replica().port(), killed.port());
    assert_eq!(killed.command(&["GET", "key"]), "new");

    primary.restart();
    assert_eq!(primary.info("replication")["role"], "master");
}

#[test]
fn three_sentinels_agree() {
    let sentinel = RedisSentinel::with_sentinels(3);
    let ports: Vec<u16> = sentinel.sentinels().iter().map(RedisServer::port).collect();
    assert_eq!(
        sentinel.url(),
        format!(
            "redis-sentinel://127.0.0.1:{}/0?sentinelServiceName=main&node=127.0.0.1:{}\
             &node=127.0.0.1:{}",
            ports[0], ports[1], ports[2]
        )
    );
    let killed = sentinel.kill_primary().port();
    sentinel.sentinels()[0].kill();
    assert_ne!(sentinel.wait_until_promoted().port(), killed);
}
