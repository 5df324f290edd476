//! Redis is gone for five seconds under load: latency, errors and loads over time, and how long it takes
//! to heal.
//!
//! With the settings of `CacheServices`. Requests arrive at random and do not wait for each other; their
//! latency counts from the moment at which they were due. Entries live for a second, and in the near tier
//! for a fifth of one, so that Redis and the loader are asked all the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cache_bench_kit::value::{Org, key, org};
use cache_bench_kit::{Bound, Line, Plot, Recorder, Table, Times};
use cache_core::{CacheService, CacheServiceExt, CacheStore, Policy};
use cache_services::CacheServices;
use cache_testkit::RedisServer;
use tokio::time::sleep;

use crate::Bench;
use crate::timer::Timer;

const KEYS: usize = 1_000;
const PER_SECOND: f64 = 1_000.0;
const BEFORE: Duration = Duration::from_secs(3);
const OUTAGE: Duration = Duration::from_secs(5);
const AFTER: Duration = Duration::from_secs(4);
/// For which latencies are taken together.
const WINDOW: Duration = Duration::from_millis(100);
/// What the loader takes, and how long entries live.
const LOAD: Duration = Duration::from_millis(5);
const TTL: Duration = Duration::from_secs(1);
const NEAR_TTL: Duration = Duration::from_millis(200);

/// A way in which Redis goes and comes back.
struct Kind {
    name: &'static str,
    go: fn(&RedisServer),
    back: fn(&RedisServer),
}

const KINDS: [Kind; 2] = [
    Kind { name: "hangs", go: RedisServer::pause, back: RedisServer::resume },
    Kind { name: "is killed", go: RedisServer::kill, back: RedisServer::restart },
];

pub(crate) fn run(bench: &Bench) {
    for kind in &KINDS {
        let (runtime, server) = bench.start();
        let services = CacheServices::builder().redis_url(server.url()).near_ttl(NEAR_TTL).build();
        let services = runtime.block_on(services).unwrap();
        let server = Arc::new(server);
        let outage =
            Outage { cache: services.cache(), loads: Arc::default(), start: Instant::now() };
        let outage = Arc::new(outage);
        let requests = runtime.spawn(Arc::clone(&outage).requests());
        let loads = runtime.spawn(Arc::clone(&outage).watch_loads());
        let redis = Arc::clone(&outage).redis(Arc::clone(&server), kind);
        let healed = runtime.block_on(runtime.spawn(redis));
        let (requests, loads) =
            (runtime.block_on(requests).unwrap(), runtime.block_on(loads).unwrap());
        report(&bench.record, kind.name, &requests, loads, healed.unwrap());
        runtime.block_on(services.shutdown());
    }
}

/// When it was due, how long it took, whether there was an answer.
type Request = (Duration, Duration, bool);

struct Outage {
    cache: Arc<dyn CacheService>,
    loads: Arc<AtomicU64>,
    start: Instant,
}

impl Outage {
    async fn requests(self: Arc<Self>) -> Vec<Request> {
        let (mut timer, mut random) = (Timer::new(), fastrand::Rng::with_seed(7));
        let (mut due, mut under_way) = (self.start, Vec::new());
        while due < self.start + BEFORE + OUTAGE + AFTER {
            timer.sleep_until(due).await;
            let (outage, id) = (Arc::clone(&self), random.usize(..KEYS));
            under_way.push(tokio::spawn(async move {
                let answered = outage.request(id).await;
                (due - outage.start, due.elapsed(), answered)
            }));
            due += Duration::from_secs_f64(-(1.0 - random.f64()).ln() / PER_SECOND);
        }
        let mut requests = Vec::new();
        for request in under_way {
            requests.push(request.await.unwrap());
        }
        requests
    }

    async fn request(&self, id: usize) -> bool {
        let loads = Arc::clone(&self.loads);
        let load = move || async move {
            loads.fetch_add(1, Ordering::Relaxed);
            sleep(LOAD).await;
            Ok::<Org, std::io::Error>(org(id))
        };
        self.cache.get_or_load(&key(id), Policy::ttl(TTL), load).await.is_ok_and(|org| org.id == id)
    }

    /// Loads a second, by window.
    async fn watch_loads(self: Arc<Self>) -> Vec<(f64, f64)> {
        let (mut points, mut before) = (Vec::new(), 0);
        while self.start.elapsed() < BEFORE + OUTAGE + AFTER {
            sleep(WINDOW).await;
            let loads = self.loads.load(Ordering::Relaxed);
            points.push((
                self.start.elapsed().as_secs_f64(),
                (loads - before) as f64 / WINDOW.as_secs_f64(),
            ));
            before = loads;
        }
        points
    }

    /// Takes Redis away and brings it back. How long it then takes until a write and a read come through;
    /// for ever, if they have not by the end.
    async fn redis(self: Arc<Self>, server: Arc<RedisServer>, kind: &'static Kind) -> Duration {
        sleep(BEFORE).await;
        let [gone, back] = [&server, &server].map(Arc::clone);
        tokio::task::spawn_blocking(move || (kind.go)(&gone)).await.unwrap();
        sleep(OUTAGE).await;
        tokio::task::spawn_blocking(move || (kind.back)(&back)).await.unwrap();
        let back = Instant::now();
        let mut number = 0;
        while back.elapsed() < AFTER {
            let before = self.cache.stats().remote_hits;
            let written = self.cache.set("healed", &number, TTL).await.is_ok();
            sleep(Duration::from_millis(5)).await;
            // Of the requests.
            let read = self.cache.stats().remote_hits > before;
            if written && read {
                return back.elapsed();
            }
            number += 1;
        }
        Duration::MAX
    }
}

fn report(
    record: &Recorder,
    kind: &str,
    requests: &[Request],
    loads: Vec<(f64, f64)>,
    healed: Duration,
) {
    let windows = (BEFORE + OUTAGE + AFTER).as_millis() / WINDOW.as_millis();
    let (mut p50, mut p99, mut errors) = (Vec::new(), Vec::new(), Vec::new());
    for window in 0..u32::try_from(windows).unwrap() {
        let from = WINDOW * window;
        let within = |request: &&Request| request.0 >= from && request.0 < from + WINDOW;
        let mut times = Times::default();
        let mut failed = 0;
        for (_, time, answered) in requests.iter().filter(within) {
            times.add(*time);
            failed += usize::from(!answered);
        }
        let at = from.as_secs_f64();
        p50.push((at, times.percentile(50.0) / 1e3));
        p99.push((at, times.percentile(99.0) / 1e3));
        errors.push((at, failed as f64 / WINDOW.as_secs_f64()));
    }
    let columns = ["requests", "errors", "p50 ms", "p99 ms", "max ms"];
    let title = format!("Redis {kind} for 5 s, {PER_SECOND} requests a second");
    let mut table = Table::new(format!("outage/{kind}"), title, &columns);
    let phases = [
        ("before", Duration::ZERO, BEFORE),
        ("meanwhile", BEFORE, BEFORE + OUTAGE),
        ("after", BEFORE + OUTAGE, BEFORE + OUTAGE + AFTER),
    ];
    let mut slowest = 0.0;
    for (phase, from, to) in phases {
        let mut times = Times::default();
        let mut failed = 0;
        for (_, time, answered) in requests.iter().filter(|request| (from..to).contains(&request.0))
        {
            times.add(*time);
            failed += usize::from(!answered);
        }
        let [median, late, max] =
            [50.0, 99.0, 100.0].map(|percent| times.percentile(percent) / 1e3);
        slowest = f64::max(slowest, max);
        let cells = [times.len() as f64, failed as f64, median, late, max];
        table.row(phase, &cells.map(Some));
    }
    record.table(table);
    record.bounded(&format!("Redis {kind}: s to heal"), healed.as_secs_f64(), Bound::AtMost(2.0));
    let failed = requests.iter().filter(|request| !request.2).count();
    record.bounded(&format!("Redis {kind}: errors"), failed as f64, Bound::AtMost(0.0));
    let plot = |id: &str, title: &str, y: &str, lines: Vec<(&str, Vec<(f64, f64)>)>| {
        let line = |(name, points): (&str, _)| Line { name: name.to_owned(), points };
        record.plot(Plot {
            id: format!("outage {kind} {id}"),
            title: format!("Redis {kind} from second 3 to 8: {title}"),
            x: "s".to_owned(),
            y: y.to_owned(),
            lines: lines.into_iter().map(line).collect(),
        });
    };
    plot("latency", "latency", "ms", vec![("p50", p50), ("p99", p99)]);
    plot("loads", "loads and errors", "a second", vec![("loads", loads), ("errors", errors)]);
}
