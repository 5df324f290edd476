//! In the memory of the process: hits, writes and expiry, beside the raw engines and the caches of other
//! crates.
//!
//! 10,000 keys at random and 64 hot ones, values of 150 bytes and of 4 KiB or of what `--value-bytes` says,
//! one thread and two. Each
//! key has a value of its own, as in a real cache. Ours is the hybrid with a Redis behind it and the
//! bus up, and each backend alone.
//!
//! `cargo bench -p cache-bench --bench near -- 21` takes 21 rounds; words name the parts to run: `hits`,
//! `instructions`, `instrumented`, `growth`, `writes`, `expiry`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark")]

mod expiry;
mod growth;
mod hits;
mod instructions;
mod instrumented;
mod peers;
mod writes;

use cache_bench_kit::value::Size;
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

const PARTS: [Part; 6] = [
    ("hits", hits::run),
    ("instructions", instructions::run),
    ("instrumented", instrumented::run),
    ("growth", growth::run),
    ("writes", writes::run),
    ("expiry", expiry::run),
];

/// The first size that was asked for, for what is measured with one only.
fn small(arguments: &Arguments) -> Size {
    arguments.sizes_or(&[Size::SMALL])[0]
}

fn main() {
    let inner = [instructions::COUNTED, instrumented::TIMED, hits::PROCESS, expiry::AGED];
    let arguments = Arguments::of_this_process(&PARTS.map(|(part, _)| part), &inner);
    let server = RedisServer::start();
    let runtime = Builder::new_multi_thread().enable_all().build().unwrap();
    // In processes that this one starts.
    match arguments.words.as_slice() {
        [word, name] if word == instructions::COUNTED => {
            return instructions::counted(name, small(&arguments), &runtime, &server.url());
        }
        [word, name] if word == instrumented::TIMED => {
            return instrumented::timed(name, small(&arguments), &runtime, &server.url());
        }
        [word, names @ ..] if word == hits::PROCESS => {
            let (size, rounds) = (small(&arguments), arguments.rounds_or(7, 15));
            return hits::timed(names, size, rounds, &runtime, &server.url());
        }
        [word, name] if word == expiry::AGED => {
            return expiry::aged(name, arguments.rounds_or(0, 0), &runtime);
        }
        _ => {}
    }
    let record = Recorder::new("near", &arguments);
    let bench = Bench { arguments, record, runtime, server };
    for (part, run) in PARTS {
        if bench.arguments.wants(part) {
            run(&bench);
        }
    }
    bench.record.save();
}
