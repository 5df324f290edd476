//! What a hit allocates.

use std::cell::OnceCell;

use allocation_counter::measure;
use cache_bench_kit::Table;
use cache_bench_kit::value::Size;

use crate::Bench;
use crate::peers::{PEERS, Setting};

const HITS: usize = 1_000;

pub(crate) fn run(bench: &Bench) {
    for size in bench.arguments.sizes_or(&[Size::SMALL, Size::LARGE]) {
        of_size(bench, size);
    }
}

fn of_size(bench: &Bench, size: Size) {
    let (runtime, url) = (&bench.runtime, bench.server.url());
    let name = size.name();
    let title = format!("Allocations of a hit, {HITS} keys, values of {name}");
    let id = format!("near/allocations/{name}");
    let mut table = Table::new(id, title, &["allocations", "bytes"]);
    let visits: Vec<usize> = (0..HITS).collect();
    for (name, make) in PEERS {
        let setting = Setting { keys: HITS, size, runtime, url: &url, hybrid: &OnceCell::new() };
        let peer = make(setting);
        peer.hits(&visits, runtime);
        // Going into a runtime and out of it is no part of a hit.
        let none = measure(|| peer.hits(&[], runtime));
        let all = measure(|| peer.hits(&visits, runtime));
        let per_hit = |all: u64, none: u64| Some(all.saturating_sub(none) as f64 / HITS as f64);
        let count = per_hit(all.count_total, none.count_total);
        table.row(name, &[count, per_hit(all.bytes_total, none.bytes_total)]);
    }
    bench.record.table(table);
}
