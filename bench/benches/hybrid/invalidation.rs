//! An invalidation on one node, until another does not serve the value any more.
//!
//! The nodes are of this process, each with a runtime of its own as if they were of two.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cache_bench_kit::value::key;
use cache_bench_kit::{Bound, Table, Times};
use cache_core::{CacheServiceExt, CacheStore, Selector};
use cache_hybrid::HybridCache;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, PushInfo, PushKind};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::sleep;

use crate::Bench;
use crate::delay::Delay;
use crate::node::{load, node};
use crate::raw::Raw;

/// In one turn.
const REMOVALS: usize = 50;
/// Before each measurement, so that all begin alike: with every thread at rest.
const REST: Duration = Duration::from_millis(1);

pub(crate) fn run(bench: &Bench) {
    let (runtime, server) = bench.start();
    let delay = Delay::start(server.addr());
    for (way, url, count) in Bench::ways(&server, &delay, REMOVALS) {
        until_gone(bench, &runtime, &url, (way, count * bench.rounds));
    }
}

fn until_gone(bench: &Bench, runtime: &Runtime, url: &str, (way, removals): (&str, usize)) {
    let other = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (a, b) = (runtime.block_on(node(url)), other.block_on(node(url)));
    runtime.block_on(load(&a, &key(0), 0));
    let raw = Arc::new(runtime.block_on(Raw::connect(url, &format!("cache:{}", key(0)))));
    let mut gone = gone(&b);
    let mut wire = runtime.block_on(Wire::connect(url, &other));
    let there = other.handle().clone();
    let measured = async move {
        let (mut get, mut same, mut heard) = <(Times, Times, Times)>::default();
        let (mut told, mut polled) = <(Times, Times)>::default();
        for id in 0..removals {
            let key = key(id);
            sleep(REST).await;
            let start = Instant::now();
            raw.round_trip().await;
            get.add(start.elapsed());

            sleep(REST).await;
            let (answered, arrived) = wire.removal(&key).await;
            same.add(answered);
            heard.add(arrived);

            held(&a, &b, &there, &key, id).await;
            sleep(REST).await;
            let start = Instant::now();
            a.invalidate(&key).await.unwrap();
            told.add(gone.recv().await.unwrap() - start);

            held(&a, &b, &there, &key, id).await;
            let (watched, name) = (b.clone(), key.clone());
            let poller = there.spawn(async move {
                while watched.peek(&name).is_some() {
                    tokio::task::yield_now().await;
                }
                Instant::now()
            });
            sleep(REST).await;
            let start = Instant::now();
            a.invalidate(&key).await.unwrap();
            polled.add(poller.await.unwrap() - start);
            gone.recv().await.unwrap();
        }
        (get, same, heard, told, polled)
    };
    let (mut get, mut same, mut heard, mut told, mut polled) =
        runtime.block_on(runtime.spawn(measured)).unwrap();

    let title = format!(
        "An invalidation on A until B does not serve the value ({removals} of each), {way}"
    );
    let rows = vec![
        ("raw round trip: GET", &mut get),
        ("raw round trip: UNLINK and PUBLISH", &mut same),
        ("raw UNLINK and PUBLISH until heard", &mut heard),
        ("invalidate until gone from B", &mut told),
        ("the same, seen by a task that polls", &mut polled),
    ];
    bench.record.table(Table::of_times(format!("hybrid/invalidation/{way}"), title, rows));
    let p50 = told.percentile(50.0);
    let bounded = |name, measured, bound| {
        bench.record.bounded(&format!("invalidation, {name}, {way}"), measured, bound);
    };
    bounded("p50 / raw GET", p50 / get.percentile(50.0), Bound::AtMost(1.5));
    let same = same.percentile(50.0);
    bounded("p50 / raw UNLINK and PUBLISH", p50 / same, Bound::AtMost(1.5));
    bounded("p99, ms", told.percentile(99.0) / 1e3, Bound::AtMost(5.0));
}

/// When a value has gone from the near tier of `node`, by another node's doing.
fn gone(node: &HybridCache) -> UnboundedReceiver<Instant> {
    let (gone, when) = unbounded_channel();
    let near = node.clone();
    node.on_removal(Arc::new(move |what| {
        if let Selector::Keys(keys) = what {
            assert!(keys.iter().all(|key| near.peek(key).is_none()), "{keys:?} are served still");
            let _ = gone.send(Instant::now());
        }
    }));
    when
}

/// Puts `key` into both near tiers.
async fn held(a: &HybridCache, b: &HybridCache, there: &Handle, key: &str, id: usize) {
    load(a, key, id).await;
    let (b, key) = (b.clone(), key.to_owned());
    let loading = async move {
        load(&b, &key, id).await;
        assert!(b.peek(&key).is_some());
    };
    there.spawn(loading).await.unwrap();
}

/// redis-rs by hand, from one connection to another.
struct Wire {
    says: MultiplexedConnection,
    /// When a message came.
    hears: UnboundedReceiver<Instant>,
    // Open for as long as this is.
    _subscribed: MultiplexedConnection,
}

impl Wire {
    /// What it hears comes in on the `other` runtime.
    async fn connect(url: &str, other: &Runtime) -> Self {
        let client = Client::open(format!("{url}?protocol=resp3")).unwrap();
        let says = client.get_multiplexed_async_connection().await.unwrap();
        let (heard, hears) = unbounded_channel();
        let push = move |push: PushInfo| match push.kind {
            PushKind::Message => heard.send(Instant::now()).map_err(drop),
            _ => Ok(()),
        };
        let config = AsyncConnectionConfig::new().set_push_sender(push);
        let subscribed = other.spawn(async move {
            let opened = client.get_multiplexed_async_connection_with_config(&config).await;
            let mut opened = opened.unwrap();
            opened.subscribe("raw").await.unwrap();
            opened
        });
        Self { says, hears, _subscribed: subscribed.await.unwrap() }
    }

    /// How long until the answer is there, and until the message is.
    async fn removal(&mut self, key: &str) -> (Duration, Duration) {
        let mut pipeline = redis::pipe();
        pipeline.cmd("UNLINK").arg(format!("raw:{key}")).cmd("PUBLISH").arg("raw").arg(key);
        let start = Instant::now();
        pipeline.exec_async(&mut self.says).await.unwrap();
        let answered = start.elapsed();
        (answered, self.hears.recv().await.unwrap() - start)
    }
}
