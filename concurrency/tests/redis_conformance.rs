//! The family's lock suite over Redis, in real time: one server, also as a user with no more rights
//! than README says, and a cluster.
#![allow(clippy::unwrap_used, reason = "test code, also outside of test functions")]

mod redis_common;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, LazyLock};

use cache_testkit::concurrency_suite::LockHarness;
use cache_testkit::{RedisCluster, RedisServer};

/// A service of its own, with keys of its own on a server that all behaviours share; and others like it,
/// as other processes have them.
async fn harness(url: &str) -> LockHarness {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let prefix = format!("{}:", NUMBER.fetch_add(1, Relaxed));
    let url: Arc<str> = url.into();
    let connect = move || {
        let url = Arc::clone(&url);
        async move { redis_common::patient(&url).await }
    };
    LockHarness::new(connect().await).with_key_prefix(prefix).with_another(connect)
}

mod one_server {
    static SERVER: super::LazyLock<super::RedisServer> =
        super::LazyLock::new(super::RedisServer::start);

    cache_testkit::concurrency_conformance!(|| super::harness(&SERVER_URL));

    static SERVER_URL: super::LazyLock<String> = super::LazyLock::new(|| SERVER.url());
}

mod few_rights {
    static SERVER: super::LazyLock<super::RedisServer> = super::LazyLock::new(|| {
        let server = super::RedisServer::start();
        let readme = include_str!("../README.md");
        let rights = readme.lines().find(|line| line.starts_with("ACL SETUSER locks"));
        let rights: Vec<_> = rights.unwrap().split(' ').collect();
        server.command(&rights);
        server
    });

    cache_testkit::concurrency_conformance!(|| super::harness(&SERVER_URL));

    static SERVER_URL: super::LazyLock<String> =
        super::LazyLock::new(|| SERVER.url().replace("redis://", "redis://locks:secret@"));
}

mod cluster {
    static CLUSTER: super::LazyLock<super::RedisCluster> =
        super::LazyLock::new(|| super::RedisCluster::start(3));

    cache_testkit::concurrency_conformance!(|| super::harness(&CLUSTER_URL));

    static CLUSTER_URL: super::LazyLock<String> = super::LazyLock::new(|| CLUSTER.url());
}
