//! A million entries of which most expire soon: what that costs readers, and when memory comes back.
//!
//! Each contestant has a process of its own, as memory is counted by process. A reader asks for keys
//! that stay, without pause, and writes one of them now and then; every tenth of a second its slowest
//! thousand reads and the memory are noted. What stays was put in first, so that no page of the rest is
//! held up by it. Ours is what `CacheServices` hands out without Redis, as a service has it: with the task that
//! frees what expires unread.

mod moka;

use std::hint::black_box;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cache_bench_kit::value::{Org, TTL, key, org};
use cache_bench_kit::{Line, Plot, Table, resident};
use cache_core::{CacheService, CacheServiceExt};
use cache_services::CacheServices;
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;

use self::moka::Moka;
use crate::Bench;

/// Says that this process is one of a contestant.
pub(crate) const AGED: &str = "aged";
const ENTRIES: usize = 1_000_000;
/// Of which these stay; the others expire within four seconds.
const STAYS: usize = ENTRIES / 10;
const SOON: std::ops::Range<u64> = 1_000..5_000;
/// When these seconds begin: the last entry is in by then.
const FILLED: Duration = Duration::from_secs(3);
/// Reads between two looks at the clock.
const READS: usize = 1_000;
const NOTE: Duration = Duration::from_millis(100);
/// Without mini-moka: behind its one mutex a million writes take twenty seconds.
const CONTESTANTS: [&str; 2] = ["ours, quick", "raw moka, Expiry"];

/// Below the table.
const KEPT: &str = "\
What is freed stays with glibc's allocator, which gives back only the end of its heap, and is used again: memory is \
back for the process when the entries are gone. `malloc_trim`, which asks for it, is unsafe to call from Rust, and \
neither is given it.";

/// What a process tells.
#[derive(Serialize, Deserialize)]
struct Note {
    seconds: f64,
    resident: f64,
    entries: u64,
    /// Nanoseconds each, of the slowest thousand.
    read: f64,
}

pub(crate) fn run(bench: &Bench) {
    let seconds = bench.arguments.choose("10", "30");
    let columns = [
        "entries at the end",
        "MiB full",
        "MiB at the end",
        "MiB back by s",
        "read ns",
        "slowest 1,000 reads, ns each",
    ];
    let title = format!("{ENTRIES} entries, 9 of 10 expire within 4 s: memory and reads");
    let mut table = Table::new("near/expiry", title, &columns).with_note(KEPT);
    let (mut memory, mut entries, mut reads) = (Vec::new(), Vec::new(), Vec::new());
    for name in CONTESTANTS {
        let program = std::env::current_exe().unwrap();
        let output = Command::new(program).args([AGED, name, seconds]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let notes: Vec<Note> = serde_json::from_slice(&output.stdout).unwrap();
        table.row(name, &summary(&notes));
        let points =
            |of: fn(&Note) -> f64| notes.iter().map(|note| (note.seconds, of(note))).collect();
        memory.push(Line { name: name.to_owned(), points: points(|note| note.resident) });
        let count = |note: &Note| note.entries as f64;
        entries.push(Line { name: name.to_owned(), points: points(count) });
        reads.push(Line { name: name.to_owned(), points: points(|note| note.read) });
    }
    bench.record.table(table);
    let plot = |id: &str, title: &str, y: &str, lines| {
        let (id, title, y) = (id.to_owned(), title.to_owned(), y.to_owned());
        bench.record.plot(Plot { id, title, x: "s since the last insert".to_owned(), y, lines });
    };
    plot("expiry memory", "Memory while entries expire", "MiB resident", memory);
    plot("expiry entries", "Entries that are counted while they expire", "entries", entries);
    plot("expiry reads", "The slowest thousand reads meanwhile", "ns per read", reads);
}

fn summary(notes: &[Note]) -> [Option<f64>; 6] {
    let full = notes.iter().map(|note| note.resident).fold(0.0, f64::max);
    let last = notes.last().unwrap();
    let end = last.resident;
    // Nine tenths of what comes back at all.
    let back = notes.iter().rfind(|note| note.resident > end + (full - end) * 0.1);
    let mut each: Vec<f64> = notes.iter().map(|note| note.read).collect();
    each.sort_by(f64::total_cmp);
    let slowest = each.last().copied();
    let entries = Some(last.entries as f64);
    [
        entries,
        Some(full),
        Some(end),
        back.map(|note| note.seconds),
        Some(each[each.len() / 2]),
        slowest,
    ]
}

/// What runs in a process of its own: one contestant. Tells its notes in JSON.
#[allow(clippy::print_stdout, reason = "how it tells them")]
pub(crate) fn aged(name: &str, seconds: usize, runtime: &Runtime) {
    let time = Duration::from_secs(seconds as u64);
    let keys: Vec<_> = (0..ENTRIES).map(key).collect();
    let capacity = 2 * ENTRIES as u64;
    let notes = match name {
        "ours, quick" => {
            let services = CacheServices::builder().max_capacity(capacity).build();
            let services = runtime.block_on(services).unwrap();
            age(&Ours { cache: services.cache(), runtime }, &keys, time)
        }
        _ => age(&Moka::new(capacity), &keys, time),
    };
    println!("{}", serde_json::to_string(&notes).unwrap());
}

/// A cache with a TTL for each entry.
trait Aging {
    fn set(&self, key: &str, org: Org, ttl: Duration);
    /// Reads each of them; all are there.
    fn gets<'a>(&self, keys: impl Iterator<Item = &'a str>);
    fn entries(&self) -> u64;
}

struct Ours<'a> {
    cache: Arc<dyn CacheService>,
    runtime: &'a Runtime,
}

impl Aging for Ours<'_> {
    fn set(&self, key: &str, org: Org, ttl: Duration) {
        self.runtime.block_on(self.cache.set(key, &org, ttl)).unwrap();
    }

    fn gets<'a>(&self, keys: impl Iterator<Item = &'a str>) {
        self.runtime.block_on(async {
            for key in keys {
                black_box(self.cache.get_arc::<Org>(key).await.unwrap().expect("what stays"));
            }
        });
    }

    fn entries(&self) -> u64 {
        self.cache.stats().entries
    }
}

fn age(cache: &impl Aging, keys: &[String], time: Duration) -> Vec<Note> {
    let mut random = fastrand::Rng::with_seed(7);
    let filling = Instant::now();
    for (id, key) in keys.iter().enumerate() {
        let left = FILLED.saturating_sub(filling.elapsed());
        let soon = left + Duration::from_millis(random.u64(SOON));
        cache.set(key, org(id), if id < STAYS { TTL } else { soon });
    }
    let mut notes = Vec::new();
    let (start, mut last, mut slowest) = (Instant::now(), Instant::now(), Duration::ZERO);
    while start.elapsed() < time {
        let picked = [(); READS].map(|()| random.usize(..STAYS));
        let begun = Instant::now();
        cache.gets(picked.iter().map(|&id| keys[id].as_str()));
        slowest = slowest.max(begun.elapsed());
        let id = random.usize(..STAYS);
        cache.set(&keys[id], org(id), TTL);
        if last.elapsed() >= NOTE {
            notes.push(Note {
                seconds: start.elapsed().as_secs_f64(),
                resident: resident(),
                entries: cache.entries(),
                read: slowest.as_secs_f64() * 1e9 / READS as f64,
            });
            (last, slowest) = (Instant::now(), Duration::ZERO);
        }
    }
    notes
}
