//! What is allocated: by a hit, by a free lock, and in all by each entry.
//!
//! In a program of its own, as its allocator counts: under it, those who allocate would pay for that in
//! every time that is taken.
//!
//! `cargo bench -p cache-bench --bench allocations -- hits` runs one part: `hits`, `memory`, `locks`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark")]

mod hits;
mod lock_peers;
mod locks;
mod memory;
#[allow(dead_code, reason = "those of `near`, which asks for more")]
#[path = "../near/peers/mod.rs"]
mod peers;

use cache_bench_kit::{Arguments, Recorder};
use cache_testkit::RedisServer;
use tokio::runtime::{Builder, Runtime};

/// What the parts run with.
struct Bench {
    arguments: Arguments,
    record: Recorder,
    // Before the server, which what runs on it uses.
    runtime: Runtime,
    server: RedisServer,
}

/// A part and the word that names it.
type Part = (&'static str, fn(&Bench));

const PARTS: [Part; 3] = [("hits", hits::run), ("memory", memory::run), ("locks", locks::run)];

fn main() {
    let arguments = Arguments::of_this_process(&PARTS.map(|(part, _)| part), &[]);
    let record = Recorder::new("allocations", &arguments);
    let runtime = Builder::new_multi_thread().enable_all().build().unwrap();
    let bench = Bench { arguments, record, runtime, server: RedisServer::start() };
    for (part, run) in PARTS {
        if bench.arguments.wants(part) {
            run(&bench);
        }
    }
    bench.record.save();
}
