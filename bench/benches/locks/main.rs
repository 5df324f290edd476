//! Locks: over Redis beside a round trip, `rslock` and a lock that polls; in the process beside a
//! tokio mutex in a map.
//!
//! A server of its own, on this machine, directly and through a proxy that makes a network of it.
//! What is on Redis runs twice: as it is, and with clients, proxy and server on one core.
//!
//! `cargo bench -p cache-bench --bench locks -- 5` takes 5 turns; words name the parts to run:
//! `uncontended`, `hand-over`, `contention`, `idle`, `local`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark")]

mod contender;
mod contention;
#[path = "../shared/delay.rs"]
mod delay;
mod hand_over;
mod idle;
mod local;
mod ours;
mod peers;
mod raw;
#[path = "../shared/tcp.rs"]
mod tcp;
#[path = "../shared/timer.rs"]
mod timer;
mod uncontended;

use cache_bench_kit::{Arguments, Recorder, Table};
use cache_testkit::{FaultProxy, RedisServer};
use tokio::runtime::{Builder, Runtime};

use self::delay::Delay;

/// What the parts run with.
struct Bench<'a> {
    rounds: usize,
    arguments: &'a Arguments,
    record: &'a Recorder,
    /// The ways to the server, by name.
    ways: [(&'static str, String); 2],
    // Before the server, which what runs on it uses.
    runtime: Runtime,
    _delay: Delay,
    server: RedisServer,
}

/// A part and the word that names it.
type Part = (&'static str, fn(&Bench<'_>));

const PARTS: [Part; 5] = [
    ("uncontended", uncontended::run),
    ("hand-over", hand_over::run),
    ("contention", contention::run),
    ("idle", idle::run),
    ("local", local::run),
];
/// That run once more on one core.
const ON_REDIS: [&str; 3] = ["uncontended", "hand-over", "contention"];

fn main() {
    let arguments = Arguments::of_this_process(&PARTS.map(|(part, _)| part), &[]);
    let record = Recorder::new("locks", &arguments);
    Bench::new(&arguments, &record).round_trips();
    for (part, run) in PARTS {
        if arguments.wants(part) {
            run(&Bench::new(&arguments, &record));
        }
    }
    record.save();
    let again = ON_REDIS.map(|part| arguments.wants(part).then_some(part));
    let again: Vec<_> = again.into_iter().flatten().collect();
    if !arguments.pinned && !again.is_empty() {
        arguments.run_on_one_core(&again);
    }
}

impl<'a> Bench<'a> {
    fn new(arguments: &'a Arguments, record: &'a Recorder) -> Self {
        let server = RedisServer::start();
        let delay = Delay::start(server.addr());
        let ways = [("directly", server.url()), ("through the proxy", delay.url())];
        // As `#[tokio::main]` makes it: a worker per core that there is for us.
        let runtime = Builder::new_multi_thread().enable_all().build().unwrap();
        let rounds = arguments.rounds_or(2, 5);
        Self { rounds, arguments, record, ways, runtime, _delay: delay, server }
    }

    /// What the proxies give.
    fn round_trips(&self) {
        let ping = |url: &str| self.runtime.block_on(raw::pings(url, 500));
        let [(directly, near), (delayed, far)] = &self.ways;
        let faulty = FaultProxy::start(&self.server.url());
        faulty.latency(Delay::EACH_WAY);
        let slow = faulty.url(&self.server.url());
        let (mut near, mut far, mut slow) = (ping(near), ping(far), ping(&slow));
        let rows = vec![
            (*directly, &mut near),
            (*delayed, &mut far),
            ("for comparison: FaultProxy, as much", &mut slow),
        ];
        self.record.table(Table::of_times("locks/ping", "PING by redis-rs", rows));
    }
}
