//! Locks: over Redis beside a round trip, `rslock` and a lock that polls; in the process beside a
//! tokio mutex in a map.
//!
//! A server of its own, on this machine, directly and through a proxy that makes a network of it.
//! Everything runs twice: as it is, and with clients, proxy and server on one core.
//!
//! `cargo bench -p cache-bench --bench locks -- 5` takes 5 turns in place of 3; words name the parts to
//! run: `uncontended`, `hand-over`, `contention`, `idle`, `local`.

#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::expect_used, reason = "a benchmark")]

mod contender;
mod contention;
mod delay;
mod hand_over;
mod idle;
mod local;
mod ours;
mod peers;
mod raw;
mod timer;
mod uncontended;

use std::time::Duration;

use cache_bench::run_on_one_core;
use cache_testkit::{FaultProxy, RedisServer};
use tokio::runtime::{Builder, Runtime};

use self::delay::Delay;

const ROUNDS: usize = 3;
/// Each way, in the proxy; what it and the two loopbacks take themselves comes on top.
const DELAY: Duration = Duration::from_micros(550);
/// Says that this process is the one that runs on one core.
const PINNED: &str = "--pinned";

/// What the parts run with.
struct Bench {
    rounds: usize,
    /// The ways to the server, by name.
    ways: [(&'static str, String); 2],
    // Before the server, which what runs on it uses.
    runtime: Runtime,
    _delay: Delay,
    server: RedisServer,
}

/// A part and the word that names it.
type Part = (&'static str, fn(&Bench));

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let rounds = arguments.iter().find_map(|word| word.parse().ok()).unwrap_or(ROUNDS);
    let pinned = arguments.iter().any(|word| word == PINNED);
    let parts: [Part; 5] = [
        ("uncontended", uncontended::run),
        ("hand-over", hand_over::run),
        ("contention", contention::run),
        ("idle", idle::run),
        ("local", local::run),
    ];
    let named = |part: &str| arguments.iter().any(|word| word == part);
    let all = !parts.iter().any(|(part, _)| named(part));
    let place = if pinned { "all on one core" } else { "all cores" };
    println!("\n== {place}, {rounds} turns ==");
    Bench::new(rounds).round_trips();
    for (part, run) in parts {
        if all || named(part) {
            run(&Bench::new(rounds));
        }
    }
    if !pinned {
        let rounds = rounds.to_string();
        let named = parts.iter().map(|(part, _)| *part).filter(|part| named(part));
        run_on_one_core(&[PINNED, &rounds].into_iter().chain(named).collect::<Vec<_>>());
    }
}

impl Bench {
    fn new(rounds: usize) -> Self {
        let server = RedisServer::start();
        let delay = Delay::start(server.addr(), DELAY);
        let ways = [("directly", server.url()), ("through the proxy", delay.url())];
        // As `#[tokio::main]` makes it: a worker per core that there is for us.
        let runtime = Builder::new_multi_thread().enable_all().build().unwrap();
        Self { rounds, ways, runtime, _delay: delay, server }
    }

    /// What the proxies give.
    fn round_trips(&self) {
        println!("\nPING by redis-rs");
        for (way, url) in &self.ways {
            self.runtime.block_on(raw::pings(url, 500)).report(way);
        }
        let faulty = FaultProxy::start(&self.server.url());
        faulty.latency(DELAY);
        let url = faulty.url(&self.server.url());
        self.runtime.block_on(raw::pings(&url, 500)).report("for comparison: FaultProxy, as much");
    }
}
