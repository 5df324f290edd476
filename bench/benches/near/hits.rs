//! A hit: 10,000 keys at random and 64 hot ones, small values and large, one thread and two.
//!
//! Each contestant in processes of its own, which take turns: where keys and values lie in memory makes a
//! difference, and in a heap that twenty caches share nobody has them as they would lie in a service.
//! Those that ask one cache in two ways share its process.

use std::cell::OnceCell;
use std::process::Command;

use cache_bench_kit::value::Size;
use cache_bench_kit::{Contestant, Figure, Orders, Table, by_two, compete};
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;

use crate::Bench;
use crate::peers::{Named, PEERS, Peer, Setting};

/// Says that this process is one of those that are timed.
pub(crate) const PROCESS: &str = "process";
/// So many of each: quick, and full.
const PROCESSES: (usize, usize) = (5, 9);
/// Those that ask one cache. Not the one that decodes, which leaves the heap otherwise than these do.
const SHARED: [&str; 2] = ["get_arc, hybrid", "get_or_load, hybrid"];
const KEYS: [usize; 2] = [10_000, 64];
/// In one turn, by all threads: of values in which there is little to decode, of others, and of those that
/// are larger still, so many bytes in all.
const VISITS: (usize, usize) = (50_000, 10_000);
const DECODED: usize = VISITS.1 * 4_096;

/// What a process tells of a table.
#[derive(Serialize, Deserialize)]
struct Cell {
    keys: usize,
    threads: usize,
    figures: Vec<Figure>,
}

pub(crate) fn run(bench: &Bench) {
    let (arguments, record) = (&bench.arguments, &bench.record);
    let processes = arguments.choose(PROCESSES.0, PROCESSES.1);
    let rounds = arguments.rounds_or(7, 15).to_string();
    for size in arguments.sizes_or(&[Size::SMALL, Size::LARGE]) {
        let groups = groups();
        let mut orders = Orders::of(groups.len());
        let told: Vec<_> =
            (0..processes).map(|_| in_turn(orders.round(), &groups, &rounds, size)).collect();
        for (at, Cell { keys, threads, .. }) in told[0].iter().enumerate() {
            let of_process = |cells: &Vec<Cell>| cells[at].figures.clone();
            let figures = merged(&told.iter().map(of_process).collect::<Vec<_>>());
            let threads = if *threads == 1 { "1 thread" } else { "2 threads" };
            let name = size.name();
            let id = format!("near/{keys} keys/{threads}/{name}");
            let title = format!("Hit, {keys} keys at random, values of {name}, {threads}");
            let table = Table::of_figures(id, title, &figures);
            let drawn = (*keys, threads) == (KEYS[0], "1 thread");
            record.table(if drawn { table.with_bars("ns") } else { table });
        }
    }
}

/// The names of those that run together.
fn groups() -> Vec<Vec<&'static str>> {
    let names = || PEERS.iter().map(|(name, _)| *name);
    let alone = names().filter(|name| !SHARED.contains(name)).map(|name| vec![name]);
    alone.chain([SHARED.to_vec()]).collect()
}

/// A process for each group, one after the other: what they tell, in the order of the table.
fn in_turn(order: &[usize], groups: &[Vec<&'static str>], rounds: &str, size: Size) -> Vec<Cell> {
    let mut cells: Vec<Cell> = Vec::new();
    for &at in order {
        for (at, told) in process(&groups[at], rounds, size).into_iter().enumerate() {
            match cells.get_mut(at) {
                Some(cell) => cell.figures.extend(told.figures),
                None => cells.push(told),
            }
        }
    }
    let place = |figure: &Figure| PEERS.iter().position(|(name, _)| *name == figure.name);
    cells.iter_mut().for_each(|cell| cell.figures.sort_by_key(place));
    cells
}

/// This program again, in which everything is made anew.
fn process(names: &[&str], rounds: &str, size: Size) -> Vec<Cell> {
    let bytes = size.bytes().to_string();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([PROCESS, rounds, "--value-bytes", &bytes]).args(names);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What each contestant took in all processes.
fn merged(processes: &[Vec<Figure>]) -> Vec<Figure> {
    let of = |at: usize| processes.iter().map(|figures| figures[at].clone()).collect::<Vec<_>>();
    (0..processes[0].len()).map(|at| Figure::of_processes(&of(at))).collect()
}

/// What runs there: those of these names. Tells its figures in JSON.
#[allow(clippy::print_stdout, reason = "how it tells them")]
pub(crate) fn timed(names: &[String], size: Size, rounds: usize, runtime: &Runtime, url: &str) {
    let count = match size.bytes() {
        ..=1_024 => VISITS.0,
        bytes => VISITS.1.min(DECODED / bytes),
    };
    let mut cells = Vec::new();
    for keys in KEYS {
        let setting = Setting { keys, size, runtime, url, hybrid: &OnceCell::new() };
        let named = PEERS.iter().filter(|(name, _)| names.iter().any(|wanted| wanted == name));
        let peers: Vec<_> = named.map(|(name, make)| (*name, make(setting))).collect();
        let mut random = fastrand::Rng::with_seed(7);
        let visits: Vec<usize> = (0..count).map(|_| random.usize(..keys)).collect();
        for threads in [1, 2] {
            let figures = figures(&peers, setting, &visits, threads, rounds);
            cells.push(Cell { keys, threads, figures });
        }
    }
    println!("{}", serde_json::to_string(&cells).unwrap());
}

fn figures(
    peers: &[Named<dyn Peer>],
    setting: Setting<'_>,
    visits: &[usize],
    threads: usize,
    rounds: usize,
) -> Vec<Figure> {
    let Setting { keys, runtime, .. } = setting;
    let every: Vec<usize> = (0..keys).collect();
    let contestants = peers.iter().map(|(name, peer)| {
        let every = &every;
        let contestant = if threads == 1 {
            Contestant::new(name, move || peer.hits(visits, runtime))
        } else {
            // Each half in a thread of its own.
            let (one, other) = visits.split_at(visits.len() / 2);
            let turn = || by_two(|| peer.hits(one, runtime), || peer.hits(other, runtime));
            Contestant::timing_itself(name, turn)
        };
        // What the turns of others drove out of the processor's caches is not what is compared.
        contestant.warmed(move || peer.hits(every, runtime))
    });
    compete(contestants.collect(), rounds, visits.len())
}
