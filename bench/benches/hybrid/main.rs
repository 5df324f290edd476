//! The hybrid: a near tier before Redis, with the bus up.
//!
//! What a miss, a stampede and an invalidation cost, what a fleet of three processes does, and what an
//! outage of Redis looks like. A server of its own, on this machine; for the miss and the invalidation also
//! through a proxy that makes a network of it. The two run once more with client and server on one core,
//! where no wake-up of another core hides what the client costs.
//!
//! `cargo bench -p cache-bench --bench hybrid -- 101` takes 101 rounds; words name the parts to run:
//! `miss`, `stampede`, `invalidation`, `fleet`, `outage`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark")]

mod crowds;
#[path = "../shared/delay.rs"]
mod delay;
mod fleet;
mod invalidation;
mod member;
mod miss;
mod node;
mod outage;
mod raw;
mod stampede;
#[path = "../shared/tcp.rs"]
mod tcp;
#[path = "../shared/timer.rs"]
mod timer;

use cache_bench_kit::{Arguments, Recorder};
use cache_testkit::RedisServer;
use tokio::runtime::{Builder, Runtime};

use self::delay::Delay;

/// What the parts run with.
struct Bench {
    rounds: usize,
    arguments: Arguments,
    record: Recorder,
}

impl Bench {
    /// With a runtime as `#[tokio::main]` makes it: a worker per core that there is for us.
    fn start(&self) -> (Runtime, RedisServer) {
        (Builder::new_multi_thread().enable_all().build().unwrap(), RedisServer::start())
    }

    /// A way to the server, directly and through the proxy, and how many operations a turn has there.
    fn ways(
        server: &RedisServer,
        delay: &Delay,
        turn: usize,
    ) -> [(&'static str, String, usize); 2] {
        [("directly", server.url(), turn), ("through the proxy", delay.url(), turn / 8)]
    }
}

/// A part and the word that names it.
type Part = (&'static str, fn(&Bench));

const PARTS: [Part; 5] = [
    ("miss", miss::run),
    ("stampede", stampede::run),
    ("invalidation", invalidation::run),
    ("fleet", fleet::run),
    ("outage", outage::run),
];

/// That run once more on one core.
const ON_ONE_CORE: [&str; 2] = ["miss", "invalidation"];

fn main() {
    let parts = PARTS.map(|(part, _)| part);
    let arguments = Arguments::of_this_process(&parts, &[member::MEMBER]);
    // In a process that `fleet` starts.
    if let [word, url] = arguments.words.as_slice()
        && word == member::MEMBER
    {
        return member::serve(url);
    }
    let record = Recorder::new("hybrid", &arguments);
    let bench = Bench { rounds: arguments.rounds_or(11, 25), arguments, record };
    for (part, run) in PARTS {
        if bench.arguments.wants(part) {
            run(&bench);
        }
    }
    let Bench { arguments, record, .. } = bench;
    record.save();
    let again = ON_ONE_CORE.map(|part| arguments.wants(part).then_some(part));
    let again: Vec<_> = again.into_iter().flatten().collect();
    if !arguments.pinned && !again.is_empty() {
        arguments.run_on_one_core(&again);
    }
}
