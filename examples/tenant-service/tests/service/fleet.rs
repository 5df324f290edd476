//! Instances that share a database, and Redis if there are several.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cache_services::{CacheConfig, CacheStats};
use cache_testkit::{RedisServer, eventually};
use hyper::{Method, StatusCode};
use rusqlite::Connection;
use serde_json::{Value, json};
use tenant_service::client::{Answer, Client};
use tenant_service::{Ended, Instance, Parts, Secret, Settings, Upstream, seed};
use uuid::Uuid;

/// What the documentation promises of changes on other instances: `docs/consistency.md`, rules 1 and 3.
pub(crate) const BOUND: Duration = Duration::from_millis(1_500);
/// Organisations in the databases of the tests.
pub(crate) const TENANTS: u32 = 40;
pub(crate) const ADMIN_TOKEN: &str = "admin-of-a-test";

pub(crate) struct Fleet {
    pub(crate) instances: Vec<Instance>,
    pub(crate) clients: Vec<Client>,
    pub(crate) redis: Option<RedisServer>,
    pub(crate) upstream: Arc<Upstream>,
    folder: Folder,
}

impl Fleet {
    /// One instance, with nothing installed.
    pub(crate) async fn alone() -> Self {
        Self::start(1, None, |_| {}).await
    }

    /// Three instances over one Redis, their near tiers in service.
    pub(crate) async fn of_three() -> Self {
        Self::start(3, Some(RedisServer::start()), |_| {}).await
    }

    pub(crate) async fn start(
        count: usize,
        redis: Option<RedisServer>,
        adjust: impl Fn(&mut Settings),
    ) -> Self {
        let folder = Folder::new();
        let mut settings = settings(&folder, redis.as_ref());
        adjust(&mut settings);
        let upstream = Upstream::new(settings.upstream_latency, settings.upstream_session);
        let upstream = Arc::new(upstream);
        let mut instances = Vec::new();
        for _ in 0..count {
            let settings = settings.clone();
            let parts = Parts { upstream: Some(Arc::clone(&upstream)), ..Parts::default() };
            instances.push(Instance::start(settings, parts).await.unwrap());
        }
        for instance in &instances {
            let services = instance.app().services();
            let serves = || services.tier_stats().is_none_or(|stats| stats.near_served);
            eventually(serves).await;
        }
        let client =
            |instance: &Instance| Client::new(instance.addr(), 64, Duration::from_secs(10));
        let clients = instances.iter().map(client).collect();
        Self { instances, clients, redis, upstream, folder }
    }

    pub(crate) fn redis(&self) -> &RedisServer {
        self.redis.as_ref().unwrap()
    }

    /// The database, behind the service's back.
    pub(crate) fn database(&self) -> Connection {
        Connection::open(self.folder.file()).unwrap()
    }

    /// Queries of all instances so far.
    pub(crate) fn queries(&self) -> u64 {
        self.instances.iter().map(|instance| instance.app().database().queries()).sum()
    }

    pub(crate) fn stats(&self) -> CacheStats {
        let stats = |instance: &Instance| instance.app().cache().stats();
        self.instances.iter().map(stats).fold(CacheStats::default(), |sum, stats| sum + stats)
    }

    /// That each of so many keys was asked of the database once, since there were `before` queries. A call
    /// of Redis that does not end within its time, on a machine that is too busy, is made up for by one
    /// query; each such call is counted, and commonly there is none.
    pub(crate) fn assert_once_each(&self, keys: u64, before: u64) {
        let (queries, failed) = (self.queries() - before, self.stats().errors);
        assert!(
            (keys..=keys + failed).contains(&queries),
            "{queries} queries, {failed} failed calls"
        );
    }

    /// `GET path` of one instance.
    pub(crate) async fn get(&self, at: usize, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.clients[at].get(path, headers).await.unwrap()
    }

    /// The organisation by its slug, as one instance knows it.
    pub(crate) async fn org(&self, at: usize, slug: &str) -> Value {
        let answer = self.get(at, "/org", &[("x-org-slug", slug)]).await;
        assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.json());
        answer.json()
    }

    /// `GET /me` with the token of a user of organisation `n`.
    pub(crate) async fn me(&self, at: usize, n: u32, who: u32) -> Answer {
        let bearer = format!("Bearer {}", seed::token(n, who));
        let slug = seed::slug(n);
        self.get(at, "/me", &[("x-org-slug", &slug), ("authorization", &bearer)]).await
    }

    pub(crate) async fn put(&self, at: usize, path: &str, body: Value) -> Answer {
        self.clients[at].json(Method::PUT, path, &[], &body).await.unwrap()
    }

    pub(crate) async fn post(&self, at: usize, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.clients[at].json(Method::POST, path, headers, &json!({})).await.unwrap()
    }

    pub(crate) async fn shutdown(self) {
        for instance in self.instances {
            assert_eq!(instance.shutdown().await, Ended::Finished);
        }
    }
}

/// What every instance of a test has in common.
pub(crate) fn settings(folder: &Folder, redis: Option<&RedisServer>) -> Settings {
    let cache = CacheConfig {
        redis_url: redis.map(RedisServer::url),
        namespace: "tenants".to_owned(),
        ..CacheConfig::default()
    };
    Settings {
        listen_addr: "127.0.0.1:0".to_owned(),
        admin_addr: "127.0.0.1:0".to_owned(),
        admin_token: Some(Secret::new(ADMIN_TOKEN)),
        database_path: Some(folder.file()),
        organisations: TENANTS,
        cache,
        ..Settings::default()
    }
}

/// Asks until the answer is what is `wanted`, and fails if an older one is given to a question that was
/// asked after the bound. How long the answer took on its way says nothing.
pub(crate) async fn within_the_bound(mut wanted: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    loop {
        let asked_after = start.elapsed();
        if wanted().await {
            return;
        }
        assert!(asked_after < BOUND, "older than it may be");
        tokio::task::yield_now().await;
    }
}

/// A folder that is removed with what is in it.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        let path = std::env::temp_dir().join(format!("tenant-service-test-{}", Uuid::new_v4()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// The database in it.
    pub(crate) fn file(&self) -> PathBuf {
        self.0.join("tenants.sqlite")
    }

    /// Writes a file in it.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
