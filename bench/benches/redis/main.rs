//! Reads from Redis: the typed call beside raw redis-rs and the Redis reads of other crates.
//!
//! A server of its own, on this machine; 1,000 keys at random, 150 bytes of JSON each or what
//! `--value-bytes` says. Everything
//! runs twice: as it is, and with client and server on one core, where no wake-up of another core
//! hides what the client costs.
//!
//! `cargo bench -p cache-bench --bench redis -- 101` takes 101 rounds; words name the parts to run:
//! `tasks`, `batch`, `arrivals`, `large`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark")]

mod arrivals;
mod ours;
mod peers;
mod raw;
mod reads;
#[path = "../shared/tcp.rs"]
mod tcp;
#[path = "../shared/timer.rs"]
mod timer;

use std::sync::Arc;
use std::time::Duration;

use cache_bench_kit::value::Size;
use cache_bench_kit::{Arguments, Bound, Contestant, Recorder, Table, Timed, compete, take_turns};
use cache_testkit::RedisServer;
use tokio::runtime::{Builder, Runtime};

use self::arrivals::{arrivals, arrivals_beside_large};
use self::ours::Ours;
use self::peers::cached::Cached;
use self::peers::fred::Fred;
use self::peers::hitbox::Hitbox;
use self::peers::multi_tier_cache::MultiTierCache;
use self::raw::{Raw, Settings};
use self::reads::{Reads, ReadsLarge, by_tasks, in_batches, with_large_among};

const KEYS: usize = 1_000;
/// How many read at once, and how many reads make a turn.
const TASKS: [(usize, usize); 4] = [(1, 200), (16, 16 * 300), (64, 64 * 150), (256, 256 * 60)];
/// Rounds of one task for each of the others': its turns are short and have two figures.
const ROUNDS_OF_ONE: usize = 5;
const BATCH: usize = 100;
/// Small reads a second beside large ones, and alone.
const BESIDE_LARGE: f64 = 500.0;
const ALONE: f64 = 2_000.0;
const LARGE: usize = 1024 * 1024;
/// How many read with a large value among theirs, and how much each reads in a turn.
const READERS: [usize; 2] = [64, 256];
const AMONG: usize = 40;

/// Below what one task takes on all cores.
const ONE_TASK: &str = "\
Where the scheduler puts the client decides: beside the server a read takes some 20 µs, on another core 70 to \
90, and most rows have turns of both kinds. Sequential figures are those of the run on one core.";

/// A part and the word that names it.
type Part = (&'static str, fn(&Bench<'_>));

fn main() {
    let parts: [Part; 4] = [
        ("tasks", |bench| bench.by_tasks()),
        ("batch", |bench| bench.in_batches()),
        ("arrivals", |bench| bench.arrivals()),
        ("large", |bench| bench.large()),
    ];
    let arguments = Arguments::of_this_process(&parts.map(|(part, _)| part), &[]);
    let record = Recorder::new("redis", &arguments);
    for size in arguments.sizes_or(&[Size::SMALL]) {
        let bench = Bench::new(&arguments, &record, size);
        for (part, run) in parts {
            if arguments.wants(part) {
                run(&bench);
            }
        }
    }
    record.save();
    if !arguments.pinned {
        arguments.run_on_one_core(&[]);
    }
}

struct Bench<'a> {
    rounds: usize,
    /// Of arrivals, in each round.
    time: Duration,
    record: &'a Recorder,
    /// Of the small values.
    size: Size,
    arguments: &'a Arguments,
    ours: Arc<Ours>,
    ours_of_4: Arc<Ours>,
    raw: [Arc<Raw>; 3],
    raw_untimed: Arc<Raw>,
    raw_default: Arc<Raw>,
    fred: [Arc<Fred>; 2],
    cached: Arc<Cached>,
    hitbox: Arc<Hitbox>,
    multi_tier: Arc<MultiTierCache>,
    // After what uses them.
    runtime: Runtime,
    server: RedisServer,
}

impl<'a> Bench<'a> {
    fn new(arguments: &'a Arguments, record: &'a Recorder, size: Size) -> Self {
        let server = RedisServer::start();
        let url = server.url();
        // As `#[tokio::main]` makes it: a worker per core that there is for us.
        let runtime = Builder::new_multi_thread().enable_all().build().unwrap();
        let raw = |connections, settings| {
            Arc::new(runtime.block_on(Raw::filled(&url, size, connections, settings)))
        };
        let ours = |connections| Arc::new(runtime.block_on(Ours::filled(&url, size, connections)));
        Self {
            rounds: arguments.rounds_or(9, 25),
            time: Duration::from_millis(arguments.choose(200, 600)),
            record,
            size,
            arguments,
            ours: ours(None),
            ours_of_4: ours(Some(4)),
            raw: [1, 2, 4].map(|connections| raw(connections, Settings::AsOurs)),
            raw_untimed: raw(1, Settings::NoTimeout),
            raw_default: raw(1, Settings::Default),
            fred: [1, 4]
                .map(|clients| Arc::new(runtime.block_on(Fred::filled(&url, size, clients)))),
            cached: Arc::new(runtime.block_on(Cached::filled(&url, size))),
            hitbox: Arc::new(runtime.block_on(Hitbox::filled(&url, size))),
            multi_tier: Arc::new(runtime.block_on(MultiTierCache::filled(&url, size))),
            runtime,
            server,
        }
    }

    fn by_tasks(&self) {
        for (tasks, reads) in TASKS {
            let visits = visits(reads);
            let contestants = vec![
                self.reader("get, dyn CacheService", &self.ours, &visits, tasks),
                self.reader("get, 4 connections", &self.ours_of_4, &visits, tasks),
                self.reader("raw redis-rs, 1 connection", &self.raw[0], &visits, tasks),
                self.reader("raw redis-rs, 2 connections", &self.raw[1], &visits, tasks),
                self.reader("raw redis-rs, 4 connections", &self.raw[2], &visits, tasks),
                self.reader("raw redis-rs, as it comes", &self.raw_default, &visits, tasks),
                self.reader("raw redis-rs, without timeouts", &self.raw_untimed, &visits, tasks),
                self.reader("fred, 1 client", &self.fred[0], &visits, tasks),
                self.reader("fred, pool of 4", &self.fred[1], &visits, tasks),
                self.reader("cached, AsyncRedisCache", &self.cached, &visits, tasks),
                self.reader("hitbox-redis, CacheBackend", &self.hitbox, &visits, tasks),
                self.reader("multi-tier-cache, RedisCache", &self.multi_tier, &visits, tasks),
            ];
            let rounds = if tasks == 1 { self.rounds * ROUNDS_OF_ONE } else { self.rounds };
            let figures = compete(contestants, rounds, reads);
            let in_words = if tasks == 1 { "1 task".to_owned() } else { format!("{tasks} tasks") };
            let size = self.size.name();
            let id = format!("redis/{in_words}/{size}");
            let title = format!("Reads of {size} by {in_words}, time per read over all");
            let mut table = Table::of_waits(id, title, &figures);
            if tasks == 1 && !self.arguments.pinned {
                table = table.with_note(ONE_TASK);
            }
            self.record.table(if tasks == 64 { table.with_bars("µs") } else { table });
        }
    }

    fn reader<'b, R: Reads>(
        &'b self,
        name: &'b str,
        reader: &'b Arc<R>,
        visits: &'b Arc<[usize]>,
        tasks: usize,
    ) -> Contestant<'b> {
        Contestant::new(name, move || by_tasks(&self.runtime, reader, visits, tasks))
    }

    fn in_batches(&self) {
        let (runtime, visits) = (&self.runtime, visits(BATCH * 100));
        self.server.command(&["CONFIG", "RESETSTAT"]);
        in_batches(runtime, &self.ours, &visits[..BATCH].into(), BATCH);
        let calls = self.server.command(&["INFO", "commandstats"]).text();
        assert!(calls.contains("cmdstat_mget:calls=1,"), "one round trip, not {calls}");
        assert!(!calls.contains("cmdstat_get:"), "no other round trip: {calls}");

        let contestants = vec![
            Contestant::new("raw redis-rs, MGET", || {
                in_batches(runtime, &self.raw[1], &visits, BATCH);
            }),
            Contestant::new("get_many, dyn CacheService", || {
                in_batches(runtime, &self.ours, &visits, BATCH);
            }),
        ];
        let figures = compete(contestants, self.rounds, visits.len() / BATCH);
        let size = self.size.name();
        let title = format!("A batch of {BATCH} of {size} (one MGET), time per batch");
        self.record.table(Table::of_waits(format!("redis/batch/{size}"), title, &figures));
        let ratio = figures[1].beside(&figures[0]);
        self.record.bounded("get_many / raw", ratio, Bound::AtMost(1.15));
    }

    /// Latency of small reads that do not wait for each other.
    fn arrivals(&self) {
        let contestants = vec![
            self.arriving("get, dyn CacheService", &self.ours),
            self.arriving("get, 4 connections", &self.ours_of_4),
            self.arriving("raw redis-rs, 1 connection", &self.raw[0]),
            self.arriving("raw redis-rs, 2 connections", &self.raw[1]),
            self.arriving("raw redis-rs, 4 connections", &self.raw[2]),
            self.arriving("fred, 1 client", &self.fred[0]),
        ];
        let mut times = take_turns(contestants, self.rounds);
        let size = self.size.name();
        let title = format!("Latency of reads of {size} that arrive at random, {ALONE} a second");
        let id = format!("redis/arrivals/{size}");
        self.record.table(Table::of_latencies(id, title, &mut times));
    }

    fn arriving<'b, R: Reads>(&'b self, name: &'b str, reader: &'b Arc<R>) -> Timed<'b> {
        Timed::new(name, || arrivals(&self.runtime, reader, ALONE, self.time))
    }

    /// The same beside reads of a value of a mebibyte.
    fn large(&self) {
        let text = "x".repeat(LARGE);
        self.runtime.block_on(async {
            self.ours.store_large(&text).await;
            self.raw[0].store_large(&text).await;
        });
        let contestants = vec![
            self.beside_large("get, dyn CacheService", &self.ours),
            self.beside_large("get, 4 connections", &self.ours_of_4),
            self.beside_large("raw redis-rs, 1 connection", &self.raw[0]),
            self.beside_large("raw redis-rs, 2 connections", &self.raw[1]),
            self.beside_large("raw redis-rs, 4 connections", &self.raw[2]),
        ];
        let mut times = take_turns(contestants, self.rounds);
        let size = self.size.name();
        let title = format!(
            "Latency of reads of {size}, {BESIDE_LARGE} a second, beside two tasks that read 1 MiB each"
        );
        let id = format!("redis/large/{size}");
        self.record.table(Table::of_latencies(id, title, &mut times));
        for readers in READERS {
            let contestants = vec![
                self.among("get, dyn CacheService", &self.ours, readers),
                self.among("get, 4 connections", &self.ours_of_4, readers),
                self.among("raw redis-rs, 1 connection", &self.raw[0], readers),
                self.among("raw redis-rs, 2 connections", &self.raw[1], readers),
                self.among("raw redis-rs, 4 connections", &self.raw[2], readers),
            ];
            let mut times = take_turns(contestants, self.rounds);
            let title = format!(
                "Latency of reads of {size} by {readers} readers with one 1-MiB key among theirs"
            );
            let id = format!("redis/large/{readers} readers/{size}");
            self.record.table(Table::of_latencies(id, title, &mut times));
        }
    }

    fn among<'b, R: ReadsLarge>(
        &'b self,
        name: &'b str,
        reader: &'b Arc<R>,
        readers: usize,
    ) -> Timed<'b> {
        let visits = visits(readers * AMONG);
        Timed::new(name, move || with_large_among(&self.runtime, reader, &visits, readers))
    }

    fn beside_large<'b, R: ReadsLarge>(&'b self, name: &'b str, reader: &'b Arc<R>) -> Timed<'b> {
        Timed::new(name, || arrivals_beside_large(&self.runtime, reader, BESIDE_LARGE, self.time))
    }
}

fn visits(count: usize) -> Arc<[usize]> {
    let mut random = fastrand::Rng::with_seed(7);
    (0..count).map(|_| random.usize(..KEYS)).collect()
}
