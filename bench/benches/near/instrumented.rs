//! What the feature `metrics` costs a hit: this program and the same one built with the feature take
//! turns, as no process can be both.

use std::cell::OnceCell;
use std::path::Path;
use std::process::Command;

use cache_bench_kit::value::Size;
use cache_bench_kit::{Contestant, Spread, Table, compete};
use tokio::runtime::Runtime;

use crate::Bench;
use crate::peers::{PEERS, Setting};

/// Says that this process is one that is timed.
pub(crate) const TIMED: &str = "timed";
/// Where the program with metrics is.
const PROGRAM: &str = "BENCH_WITH_METRICS";
const KEYS: usize = 10_000;
const VISITS: usize = 100_000;
/// Turns of one process.
const TURNS: usize = 31;

pub(crate) fn run(bench: &Bench) {
    let Some(with) = std::env::var_os(PROGRAM) else {
        bench
            .record
            .note(format!("What metrics cost was not measured: {PROGRAM} names no program."));
        return;
    };
    let without = std::env::current_exe().expect("this program");
    let size = crate::small(&bench.arguments);
    let title =
        format!("Hit, {KEYS} keys at random, values of {}, with metrics and without", size.name());
    let mut table = Table::new("near/instrumented", title, &["without ns", "with ns", "×"]);
    for name in ["get_arc, hybrid", "get_or_load, hybrid"] {
        let (mut plain, mut measured) = (Vec::new(), Vec::new());
        for _ in 0..bench.arguments.rounds_or(4, 15) {
            plain.push(nanoseconds(&without, name, size));
            measured.push(nanoseconds(Path::new(&with), name, size));
        }
        let [plain, measured] = [plain, measured].map(|each| Spread::of(each).median);
        table.row(name, &[plain, measured, measured / plain].map(Some));
    }
    bench.record.table(table);
}

/// What a hit takes in a process of its own.
fn nanoseconds(program: &Path, name: &str, size: Size) -> f64 {
    let mut command = Command::new(program);
    command.args([TIMED, name, "--value-bytes", &size.bytes().to_string()]);
    let output = command.output().expect("the program starts");
    let said = String::from_utf8_lossy(&output.stdout);
    said.trim().parse().expect("a number of nanoseconds")
}

/// What runs there: prints the nanoseconds of its fastest turn, which the machine has disturbed least.
#[allow(clippy::print_stdout, reason = "how it tells them")]
pub(crate) fn timed(name: &str, size: Size, runtime: &Runtime, url: &str) {
    let (_, make) = PEERS.into_iter().find(|(peer, _)| *peer == name).expect("a contestant");
    let peer = make(Setting { keys: KEYS, size, runtime, url, hybrid: &OnceCell::new() });
    let mut random = fastrand::Rng::with_seed(7);
    let visits: Vec<usize> = (0..VISITS).map(|_| random.usize(..KEYS)).collect();
    let contestants = vec![Contestant::new(name, || peer.hits(&visits, runtime))];
    println!("{}", compete(contestants, TURNS, VISITS)[0].min);
}
