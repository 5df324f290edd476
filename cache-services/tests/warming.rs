//! Warming up over Redis: nodes share the work, and what another node writes meanwhile stays.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod nodes;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cache_services::{
    CacheServiceExt, CacheServices, CacheStore, LeaseOutcome, Warm, WarmLoader, Warmer,
};
use cache_testkit::{RedisServer, eventually, eventually_async};
use nodes::Node;
use tracing::{Event, Level, Subscriber, subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::Registry;

const KEYS: usize = 300;
/// Longer than a test takes.
const LEASE: Duration = Duration::from_secs(30);

/// A patient one: a call that is given up on a busy machine is a load without a lease.
async fn node(server: &RedisServer) -> Node {
    Node::start(&server.url()).await
}

fn key(at: usize) -> String {
    format!("k:{at}")
}

/// Loads "old" for every key, and counts the keys it is asked for.
fn warmer(node: &Node, loaded: &Arc<AtomicU64>) -> Warmer {
    let loaded = Arc::clone(loaded);
    let load = move |keys: Vec<String>| {
        loaded.fetch_add(keys.len() as u64, Ordering::Relaxed);
        async move {
            tokio::task::yield_now().await;
            Ok::<_, io::Error>(keys.into_iter().map(|key| (key, "old".to_owned())).collect())
        }
    };
    let loader = WarmLoader::new::<String, _, _, _>("k", "k:", load)
        .keys(async || Ok::<_, io::Error>((0..KEYS).map(key).collect()));
    Warmer::builder(Arc::new(node.cache.clone())).loader(loader).batch_size(30).build().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_warm_up_ever_overwrites_what_another_node_writes_meanwhile() {
    let server = RedisServer::start();
    let (one, other) = (node(&server).await, node(&server).await);
    let loaded = Arc::default();
    let warmer = warmer(&one, &loaded);
    for round in 0..10 {
        let run = warmer.warm(Warm::All).unwrap();
        for at in 0..KEYS {
            other.cache.set(&key(at), "new", None).await.unwrap();
        }
        let run = run.wait().await;
        assert_eq!((run.done, run.failed), (KEYS as u64, 0), "{run:?}");
        for at in 0..KEYS {
            let key = key(at);
            assert_eq!(other.cache.get::<String>(&key).await.unwrap().unwrap(), "new", "{round}");
        }
        // The bus tells the node that has warmed up.
        for at in 0..KEYS {
            let cache = one.cache.clone();
            eventually_async(async || {
                cache.get::<String>(&key(at)).await.unwrap().unwrap() == "new"
            })
            .await;
        }
        one.cache.clear().await.unwrap();
    }
    assert!(loaded.load(Ordering::Relaxed) > 0, "something was warmed up");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_warm_up_together_load_each_key_once() {
    let server = RedisServer::start();
    let (one, other) = (node(&server).await, node(&server).await);
    let loaded = Arc::default();
    let warmers = [warmer(&one, &loaded), warmer(&other, &loaded)];
    let runs = warmers.each_ref().map(|warmer| warmer.start().unwrap());
    for run in &runs {
        assert!(run.wait().await.is_success());
    }
    assert_eq!(loaded.load(Ordering::Relaxed), KEYS as u64);
    for node in [&one, &other] {
        let before = node.stats().far_reads;
        assert_eq!(node.cache.get::<String>(&key(7)).await.unwrap().unwrap(), "old");
        assert_eq!(node.stats().far_reads, before, "it is near");
    }
}

/// Counts warnings of the warmer.
#[derive(Clone, Default)]
struct Warnings(Arc<AtomicU64>);

impl<S: Subscriber> Layer<S> for Warnings {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let of = event.metadata();
        if *of.level() == Level::WARN && of.target().starts_with("cache_core::warm") {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[tokio::test]
async fn a_run_in_which_everything_fails_does_not_fill_the_log() {
    let warnings = Warnings::default();
    let _listening = subscriber::set_default(Registry::default().with(warnings.clone()));
    let services = CacheServices::builder().build().await.unwrap();
    let load = async |_| Err(io::Error::other("the database is away"));
    let warmer = Warmer::builder(services.cache())
        .loader(WarmLoader::new::<u64, _, _, _>("k", "k:", load))
        .batch_size(1);
    let warmer = warmer.build().unwrap();
    for times in 1..=2 {
        let run = warmer.warm(Warm::Keys((0..KEYS).map(key).collect())).unwrap().wait().await;
        assert_eq!((run.failed, run.failures.len()), (KEYS as u64, 20));
        assert_eq!(warnings.0.load(Ordering::Relaxed), 20 * times, "those that are kept");
    }
}

/// Nodes that want the same keys at the same time never wait for each other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_waits_for_a_key_holds_lesser_keys_only() {
    let server = RedisServer::start();
    let (one, other) = (node(&server).await, node(&server).await);
    let other = &other.cache;
    let lease = async |at: usize| match other.lease(&key(at), LEASE).await.unwrap() {
        LeaseOutcome::Granted(lease) => Some(lease),
        _ => None,
    };
    let own = lease(1).await.unwrap();
    let loads = Arc::new(AtomicU64::new(0));
    let waiting = tokio::spawn({
        let (cache, loads) = (one.cache.clone(), Arc::clone(&loads));
        async move {
            let load = move |keys: Vec<String>| {
                loads.fetch_add(1, Ordering::Relaxed);
                async { Ok::<_, io::Error>(keys.into_iter().map(|key| (key, 1_u64)).collect()) }
            };
            cache.get_or_load_many::<u64, _, _, _>(&["k:2", "k:1", "k:0"], None, load).await
        }
    });
    // It takes the first and the third, waits for the second, and so gives the third back.
    let is_leased =
        |at: usize| server.command(&["EXISTS", &format!("cache:{}", key(at))]).integer() == 1;
    eventually(|| is_leased(0)).await;
    let mut last = None;
    eventually_async(async || {
        last = lease(2).await;
        last.is_some()
    })
    .await;
    assert!(is_leased(0), "the first is kept");
    assert_eq!(loads.load(Ordering::Relaxed), 0);
    other.abandon(own).await.unwrap();
    other.abandon(last.unwrap()).await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap().len(), 3);
    assert_eq!(loads.load(Ordering::Relaxed), 1, "one call has them all");
}
