//! A hit in Redis: the typed call beside raw redis-rs and the Redis reads of other crates.
//!
//! A server of its own, on this machine; 1,000 keys at random, 150 bytes of JSON each. Everything
//! runs twice: as it is, and with client and server on one core, where no wake-up of another core
//! hides what the client costs.
//!
//! `cargo bench -p cache-bench --bench redis -- 101` takes 101 rounds in place of 21.

#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::expect_used, reason = "a benchmark")]

mod ours;
mod peers;
mod raw;
mod reads;
mod value;

use std::sync::Arc;

use cache_bench::{Bound, Contestant, Figure, bounded, compete, report_with_cpu, run_on_one_core};
use cache_testkit::RedisServer;
use tokio::runtime::{Builder, Runtime};

use self::ours::Ours;
use self::peers::cached::Cached;
use self::peers::hitbox::Hitbox;
use self::peers::multi_tier_cache::MultiTierCache;
use self::raw::{Raw, Timeout};
use self::reads::{by_tasks, in_batches, one_by_one};

const ROUNDS: usize = 21;
const TASKS: usize = 64;
const BATCH: usize = 100;
/// Says that this process is the one that runs on one core.
const PINNED: &str = "--pinned";

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let rounds = arguments.iter().find_map(|word| word.parse().ok()).unwrap_or(ROUNDS);
    let pinned = arguments.iter().any(|word| word == PINNED);
    let place = if pinned { "client and server on one core" } else { "all cores" };
    let bench = Bench::new(rounds);
    println!("\n== {place}, median of {rounds} turns (fastest–slowest) ==");
    bench.sequential();
    bench.concurrent();
    bench.many();
    drop(bench);
    if !pinned {
        run_on_one_core(&[PINNED, &rounds.to_string()]);
    }
}

struct Bench {
    rounds: usize,
    ours: Arc<Ours>,
    raw: Arc<Raw>,
    raw_untimed: Arc<Raw>,
    cached: Arc<Cached>,
    hitbox: Arc<Hitbox>,
    multi_tier: Arc<MultiTierCache>,
    // After what uses them.
    runtime: Runtime,
    server: RedisServer,
}

impl Bench {
    fn new(rounds: usize) -> Self {
        let server = RedisServer::start();
        let url = server.url();
        // As `#[tokio::main]` makes it: a worker per core that there is for us.
        let runtime = Builder::new_multi_thread().enable_all().build().unwrap();
        Self {
            rounds,
            ours: Arc::new(runtime.block_on(Ours::filled(&url))),
            raw: Arc::new(runtime.block_on(Raw::filled(&url, Timeout::Budget))),
            raw_untimed: Arc::new(runtime.block_on(Raw::filled(&url, Timeout::Never))),
            cached: Arc::new(runtime.block_on(Cached::filled(&url))),
            hitbox: Arc::new(runtime.block_on(Hitbox::filled(&url))),
            multi_tier: Arc::new(runtime.block_on(MultiTierCache::filled(&url))),
            runtime,
            server,
        }
    }

    fn sequential(&self) {
        let (runtime, visits) = (&self.runtime, visits(2_000));
        let contestants = vec![
            Contestant::new("raw redis-rs", || one_by_one(runtime, &self.raw, &visits)),
            Contestant::new("raw redis-rs, no timeout", || {
                one_by_one(runtime, &self.raw_untimed, &visits);
            }),
            Contestant::new("get, dyn CacheService", || one_by_one(runtime, &self.ours, &visits)),
        ];
        let figures = compete(contestants, self.rounds, visits.len());
        report_with_cpu("get, one after the other", &figures);
        bounded("get / raw", ratio(&figures, 2, 0), Bound::AtMost(1.08));
    }

    fn concurrent(&self) {
        let (runtime, visits) = (&self.runtime, visits(TASKS * 200));
        let contestants = vec![
            Contestant::new("raw redis-rs", || by_tasks(runtime, &self.raw, &visits, TASKS)),
            Contestant::new("raw redis-rs, no timeout", || {
                by_tasks(runtime, &self.raw_untimed, &visits, TASKS);
            }),
            Contestant::new("get, dyn CacheService", || {
                by_tasks(runtime, &self.ours, &visits, TASKS);
            }),
            Contestant::new("cached 4.1, AsyncRedisCache", || {
                by_tasks(runtime, &self.cached, &visits, TASKS);
            }),
            Contestant::new("hitbox-redis 0.2, CacheBackend", || {
                by_tasks(runtime, &self.hitbox, &visits, TASKS);
            }),
            Contestant::new("multi-tier-cache 0.6, RedisCache", || {
                by_tasks(runtime, &self.multi_tier, &visits, TASKS);
            }),
        ];
        let figures = compete(contestants, self.rounds, visits.len());
        report_with_cpu(&format!("get by {TASKS} tasks, time per get over all"), &figures);
        bounded("throughput / raw", ratio(&figures, 0, 2), Bound::AtLeast(0.9));
        bounded("throughput / cached", ratio(&figures, 3, 2), Bound::AtLeast(1.0));
        bounded("throughput / hitbox-redis", ratio(&figures, 4, 2), Bound::AtLeast(1.0));
        bounded("throughput / multi-tier-cache", ratio(&figures, 5, 2), Bound::AtLeast(1.0));
    }

    fn many(&self) {
        let (runtime, visits) = (&self.runtime, visits(BATCH * 100));
        self.server.command(&["CONFIG", "RESETSTAT"]);
        in_batches(runtime, &self.ours, &visits[..BATCH].into(), BATCH);
        let calls = self.server.command(&["INFO", "commandstats"]).text();
        assert!(calls.contains("cmdstat_mget:calls=1,"), "one round trip, not {calls}");
        assert!(!calls.contains("cmdstat_get:"), "no other round trip: {calls}");

        let contestants = vec![
            Contestant::new("raw redis-rs, MGET", || {
                in_batches(runtime, &self.raw, &visits, BATCH);
            }),
            Contestant::new("raw redis-rs, MGET, no timeout", || {
                in_batches(runtime, &self.raw_untimed, &visits, BATCH);
            }),
            Contestant::new("get_many, dyn CacheService", || {
                in_batches(runtime, &self.ours, &visits, BATCH);
            }),
        ];
        let figures = compete(contestants, self.rounds, visits.len() / BATCH);
        report_with_cpu(&format!("get_many of {BATCH} (one MGET), time per call"), &figures);
        bounded("get_many / raw", ratio(&figures, 2, 0), Bound::AtMost(1.15));
    }
}

fn visits(count: usize) -> Arc<[usize]> {
    let mut random = fastrand::Rng::with_seed(7);
    (0..count).map(|_| random.usize(..value::KEYS)).collect()
}

fn ratio(figures: &[Figure], above: usize, below: usize) -> f64 {
    figures[above].median / figures[below].median
}
