//! An invalidation on one node, until another does not serve the value any more.
//!
//! The nodes are of this process, each with a runtime of its own as if they were of two.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cache_bench_kit::value::{BUDGET, key};
use cache_bench_kit::{Bound, Latencies, Orders, Table, Times};
use cache_core::{CacheServiceExt, CacheStore, Selector};
use cache_hybrid::HybridCache;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, PushInfo, PushKind};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::sleep;

use crate::Bench;
use crate::delay::Delay;
use crate::node::{load, node};
use crate::raw::Raw;
use crate::tcp;

/// In one turn.
const REMOVALS: usize = 50;
/// Before each measurement, so that all begin alike: with every thread at rest.
const REST: Duration = Duration::from_millis(1);

pub(crate) fn run(bench: &Bench) {
    let (runtime, server) = bench.start();
    let delay = Delay::start(server.addr());
    for (way, url, count) in Bench::ways(&server, &delay, REMOVALS) {
        until_gone(bench, &runtime, &url, (way, count));
    }
}

fn until_gone(bench: &Bench, runtime: &Runtime, url: &str, (way, removals): (&str, usize)) {
    let other = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (a, b) = (runtime.block_on(node(url)), other.block_on(node(url)));
    runtime.block_on(load(&a, &key(0), 0));
    let nodes = Nodes {
        raw: runtime.block_on(Raw::connect(url, &format!("cache:{}", key(0)))),
        gone: gone(&b),
        wire: runtime.block_on(Wire::connect(url, &other)),
        there: other.handle().clone(),
        a,
        b,
    };
    let (rounds, turn) = (bench.rounds, removals);
    let mut measured = runtime.block_on(runtime.spawn(measured(nodes, rounds, turn))).unwrap();
    let count = rounds * turn;
    let title =
        format!("An invalidation on A until B does not serve the value ({count} of each), {way}");
    let id = format!("hybrid/invalidation/{way}");
    bench.record.table(Table::of_latencies(id, title, &mut measured));
    // Like for like: both end when the other side has heard of it.
    let ratio = measured[3].beside(&measured[2]);
    let name = format!("invalidation, p50 / raw UNLINK and PUBLISH until heard, {way}");
    bench.record.bounded(&name, ratio, Bound::AtMost(1.5));
}

const ROWS: [&str; 5] = [
    "raw round trip: GET",
    "raw round trip: UNLINK and PUBLISH",
    "raw UNLINK and PUBLISH until heard",
    "invalidate until gone from B",
    "the same, seen by a task that polls",
];

/// One of each for each key, in an order by chance. The first round does not count.
async fn measured(mut nodes: Nodes, rounds: usize, turn: usize) -> Vec<Latencies> {
    let mut latencies: Vec<_> = ROWS.map(Latencies::of).into();
    let mut orders = Orders::of(4);
    for round in 0..=rounds {
        let mut times = <[Times; ROWS.len()]>::default();
        for id in round * turn..(round + 1) * turn {
            for &what in orders.round() {
                match what {
                    0 => times[0].add(nodes.round_trip().await),
                    1 => {
                        let (answered, heard) = nodes.by_hand(id).await;
                        times[1].add(answered);
                        times[2].add(heard);
                    }
                    2 => times[3].add(nodes.told(id).await),
                    _ => times[4].add(nodes.polled(id).await),
                }
            }
        }
        if round > 0 {
            latencies.iter_mut().zip(times).for_each(|(all, times)| all.round(times));
        }
    }
    latencies
}

/// Two nodes, and redis-rs by hand.
struct Nodes {
    a: HybridCache,
    b: HybridCache,
    /// Where B runs.
    there: Handle,
    /// When values have gone from B.
    gone: UnboundedReceiver<Instant>,
    raw: Raw,
    wire: Wire,
}

impl Nodes {
    async fn round_trip(&self) -> Duration {
        sleep(REST).await;
        let start = Instant::now();
        self.raw.round_trip().await;
        start.elapsed()
    }

    async fn by_hand(&mut self, id: usize) -> (Duration, Duration) {
        sleep(REST).await;
        self.wire.removal(&key(id)).await
    }

    /// Until B says that it has gone.
    async fn told(&mut self, id: usize) -> Duration {
        self.held(id).await;
        sleep(REST).await;
        let start = Instant::now();
        self.a.invalidate(&key(id)).await.unwrap();
        self.gone.recv().await.unwrap() - start
    }

    /// Until a task that looks again and again does not find it.
    async fn polled(&mut self, id: usize) -> Duration {
        self.held(id).await;
        let (watched, key) = (self.b.clone(), key(id));
        let name = key.clone();
        let poller = self.there.spawn(async move {
            while watched.peek(&name).is_some() {
                tokio::task::yield_now().await;
            }
            Instant::now()
        });
        sleep(REST).await;
        let start = Instant::now();
        self.a.invalidate(&key).await.unwrap();
        let seen = poller.await.unwrap() - start;
        self.gone.recv().await.unwrap();
        seen
    }

    /// Puts it into both near tiers.
    async fn held(&self, id: usize) {
        let key = key(id);
        load(&self.a, &key, id).await;
        let b = self.b.clone();
        let loading = async move {
            load(&b, &key, id).await;
            assert!(b.peek(&key).is_some());
        };
        self.there.spawn(loading).await.unwrap();
    }
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

/// redis-rs by hand, from one connection to another.
struct Wire {
    says: MultiplexedConnection,
    /// When a message came.
    hears: UnboundedReceiver<Instant>,
    // Open for as long as this is.
    _subscribed: MultiplexedConnection,
}

impl Wire {
    /// With the socket options of ours. What it hears comes in on the `other` runtime.
    async fn connect(url: &str, other: &Runtime) -> Self {
        let client = tcp::client(&format!("{url}?protocol=resp3"));
        let limit = AsyncConnectionConfig::new().set_response_timeout(Some(BUDGET));
        let says = client.get_multiplexed_async_connection_with_config(&limit).await.unwrap();
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
