//! Instructions of a hit, which repeat where seconds do not: counted by callgrind, each contestant in a
//! process of its own.

use std::cell::OnceCell;
use std::process::Command;
use std::thread::ScopedJoinHandle;

use cache_bench_kit::Table;
use cache_bench_kit::value::Size;
use tokio::runtime::Runtime;

use crate::Bench;
use crate::peers::{PEERS, Peer, Setting};

/// Says that this process is one whose instructions are counted.
pub(crate) const COUNTED: &str = "counted";
const KEYS: usize = 64;
/// The fewer, the more there is to decode.
const HITS: (usize, usize) = (10_000, 1_000);

pub(crate) fn run(bench: &Bench) {
    if Command::new("valgrind").arg("--version").output().is_err() {
        bench.record.note("Instructions were not measured: there is no valgrind.");
        return;
    }
    for size in bench.arguments.sizes_or(&[Size::SMALL, Size::LARGE]) {
        of_size(bench, size);
    }
}

fn hits(size: Size) -> usize {
    if size.bytes() <= 1_024 { HITS.0 } else { HITS.1 }
}

fn of_size(bench: &Bench, size: Size) {
    let name = size.name();
    let title = format!("Instructions of a hit, {KEYS} keys, values of {name}");
    let id = format!("near/instructions/{name}");
    let mut table = Table::new(id, title, &["instructions", "×"]);
    let mut first = None;
    // Two at a time: what is counted does not depend on who else runs.
    let by_two = PEERS.chunks(2).flat_map(|peers| {
        std::thread::scope(|scope| {
            let start = |&(name, _): &_| (name, scope.spawn(move || under_callgrind(name, size)));
            let started: Vec<_> = peers.iter().map(start).collect();
            let counted =
                |(name, count): (_, ScopedJoinHandle<'_, _>)| (name, count.join().unwrap());
            started.into_iter().map(counted).collect::<Vec<_>>()
        })
    });
    for (name, count) in by_two {
        match count {
            Ok(count) => {
                let each = count / hits(size) as f64;
                let ratio = each / *first.get_or_insert(each);
                table.row(name, &[Some(each), Some(ratio)]);
            }
            Err(why) => {
                bench.record.note(format!("Instructions of {name} were not measured: {why}."));
                table.row(name, &[None, None]);
            }
        }
    }
    bench.record.table(table);
}

fn under_callgrind(name: &str, size: Size) -> Result<f64, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    // By the name of the function below, wherever the compiler puts it.
    valgrind.arg("--toggle-collect=*counted_hits*").arg(program).args([COUNTED, name]);
    valgrind.args(["--value-bytes", &size.bytes().to_string()]);
    let output = valgrind.output().map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stderr);
    let count = said.lines().find_map(|line| line.split_once("Collected : "));
    let count = count.and_then(|(_, count)| count.trim().parse::<f64>().ok());
    match count.filter(|&count| output.status.success() && count > 0.0) {
        Some(count) => Ok(count),
        None => Err(format!("valgrind says {}", said.lines().last().unwrap_or_default())),
    }
}

/// What runs there.
pub(crate) fn counted(name: &str, size: Size, runtime: &Runtime, url: &str) {
    let (_, make) = PEERS.into_iter().find(|(peer, _)| *peer == name).expect("a contestant");
    let peer = make(Setting { keys: KEYS, size, runtime, url, hybrid: &OnceCell::new() });
    let visits: Vec<usize> = (0..hits(size)).map(|visit| visit % KEYS).collect();
    // What is done once is no part of a hit.
    peer.hits(&visits[..KEYS], runtime);
    counted_hits(&*peer, &visits, runtime);
}

#[inline(never)]
fn counted_hits(peer: &dyn Peer, visits: &[usize], runtime: &Runtime) {
    peer.hits(visits, runtime);
}
