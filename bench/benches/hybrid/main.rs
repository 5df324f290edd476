//! The hybrid: a near tier before Redis, with the bus up, put together as `cache-services` does it.
//!
//! What a near hit, a miss, a crowd and an invalidation cost, and that a fleet loads each key once.
//! A server of its own, on this machine. The miss runs once more with client and server on one
//! core, where no wake-up of another core hides what the client costs.
//!
//! `cargo bench -p cache-bench --bench hybrid -- 101` takes 101 rounds in place of 21; words name
//! the parts to run: `near`, `miss`, `crowd`, `invalidation`, `fleet`.

#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::expect_used, reason = "a benchmark")]

mod crowd;
mod fleet;
mod invalidation;
mod miss;
mod near;
mod node;
mod raw;
mod value;

use cache_bench::run_on_one_core;
use cache_testkit::RedisServer;
use tokio::runtime::{Builder, Runtime};

const ROUNDS: usize = 21;
/// Says that this process is the one that runs on one core.
const PINNED: &str = "--pinned";

/// What the parts run with.
struct Bench {
    rounds: usize,
    // Before the server, which what runs on it uses.
    runtime: Runtime,
    server: RedisServer,
}

/// A part and the word that names it.
type Part = (&'static str, fn(&Bench));

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let rounds = arguments.iter().find_map(|word| word.parse().ok()).unwrap_or(ROUNDS);
    let pinned = arguments.iter().any(|word| word == PINNED);
    let parts: [Part; 5] = [
        ("near", near::run),
        ("miss", miss::run),
        ("crowd", crowd::run),
        ("invalidation", invalidation::run),
        ("fleet", fleet::run),
    ];
    let named = |part: &str| arguments.iter().any(|word| word == part);
    let all = !parts.iter().any(|(part, _)| named(part));
    let place = if pinned { "client and server on one core" } else { "all cores" };
    println!("\n== {place}, median of {rounds} turns (fastest–slowest) ==");
    for (part, run) in parts {
        if all || named(part) {
            // As `#[tokio::main]` makes it: a worker per core that there is for us.
            let runtime = Builder::new_multi_thread().enable_all().build().unwrap();
            run(&Bench { rounds, runtime, server: RedisServer::start() });
        }
    }
    if !pinned && (all || named("miss")) {
        run_on_one_core(&[PINNED, "miss", &rounds.to_string()]);
    }
}
