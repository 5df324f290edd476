//! A run that reaches everything.

use cache_bench_kit::{Bound, Checked, Line, Plot, Results, Table};

pub(crate) fn table(id: &str, column: &str, rows: &[(&str, f64)]) -> Table {
    let mut table = Table::new(id, id, &[column]);
    for (name, value) in rows {
        table.row(*name, &[Some(*value)]);
    }
    table
}

/// With more than one column.
fn wide(id: &str, columns: &[&str], rows: &[(&str, &[f64])]) -> Table {
    let mut table = Table::new(id, id, columns);
    for (name, values) in rows {
        table.row(*name, &values.iter().copied().map(Some).collect::<Vec<_>>());
    }
    table
}

/// A run in which everything is reached, with numbers that are easy to divide.
pub(crate) fn reached() -> Vec<Results> {
    let both = |program: &str, tables: fn(&str) -> Vec<Table>| {
        ["all cores", "one core"].map(|place| Results {
            program: program.to_owned(),
            place: place.to_owned(),
            tables: tables(place),
            ..Results::default()
        })
    };
    let mut results = vec![near()];
    results.extend(["all cores", "one core"].map(redis));
    results.extend(both("hybrid", hybrid));
    results.extend(both("locks", locks));
    results
}

fn near() -> Results {
    let hits = [
        ("raw quick_cache", 40.0),
        ("get_arc, hybrid", 50.0),
        ("get_or_load, hybrid", 55.0),
        ("get_arc, quick", 50.0),
        ("raw moka, sync", 300.0),
        ("raw moka, future", 400.0),
        ("cached, ShardedTtlCache", 100.0),
        ("cached without TTL, ShardedUnboundCache", 87.5),
        ("cached, macro", 200.0),
        ("cachet", 500.0),
        ("hitbox", 1000.0),
        ("multi-tier-cache", 1200.0),
    ];
    let memory = [
        ("raw quick_cache, encoded", 200.0),
        ("raw quick_cache, decoded: Arc<T> only", 390.0),
        ("raw quick_cache, encoded and decoded", 400.0),
        ("ours, encoded", 264.0),
        ("ours, encoded and decoded", 480.0),
    ];
    let ratios: [(&str, &[f64]); 4] = [
        ("ours, quick", &[50.0, 60.0]),
        ("raw moka", &[49.0, 60.5]),
        ("raw foyer, S3-FIFO", &[50.25, 59.0]),
        ("raw foyer, LFU", &[50.75, 59.0]),
    ];
    let metrics = [("get_arc, hybrid", 1.0), ("get_or_load, hybrid", 1.125)];
    Results {
        program: "near".to_owned(),
        place: "all cores".to_owned(),
        tables: vec![
            table("near/10000 keys/1 thread/150 B", "ns", &hits),
            table("near/10000 keys/2 threads/150 B", "ns", &hits),
            table("near/allocations/150 B", "allocations", &[("get_arc, hybrid", 0.0)]),
            table("near/instrumented", "×", &metrics),
            table("near/memory/150 B", "bytes", &memory),
            table("near/growth", "×", &[("set", 1.25), ("get_arc", 1.1)]),
            wide("hit ratio/zipf", &["64 entries", "128 entries"], &ratios),
        ],
        ..Results::default()
    }
}

fn redis(place: &str) -> Results {
    let by_tasks = |id: &str, ours: f64, raw: f64| {
        let rows = [
            ("raw redis-rs, 1 connection", raw),
            ("raw redis-rs, 4 connections", raw * 2.0),
            ("raw redis-rs, without timeouts", raw * 3.0),
            ("get, dyn CacheService", ours),
            ("get, 4 connections", 1.0),
            ("fred", 30.0),
            ("cached", 40.0),
            ("hitbox-redis", 50.0),
            ("multi-tier-cache", 60.0),
        ];
        table(id, "µs", &rows)
    };
    let large = [
        ("raw redis-rs, 1 connection", 1_800.0),
        ("raw redis-rs, 2 connections", 900.0),
        ("get, dyn CacheService", 450.0),
    ];
    let large = |id: &str| table(id, "p99 µs", &large);
    Results {
        program: "redis".to_owned(),
        place: place.to_owned(),
        tables: vec![
            by_tasks("redis/1 task/150 B", 10.0, 10.0),
            by_tasks("redis/16 tasks/150 B", 10.0, 10.0),
            by_tasks("redis/64 tasks/150 B", 8.0, 10.0).with_note("As it was."),
            by_tasks("redis/256 tasks/150 B", 5.0, 10.0),
            large("redis/large/150 B"),
            large("redis/large/64 readers/150 B"),
            large("redis/large/256 readers/150 B"),
        ],
        plots: vec![Plot {
            id: "outage".to_owned(),
            title: "An outage".to_owned(),
            x: "s".to_owned(),
            y: "ms".to_owned(),
            lines: vec![Line { name: "p50".to_owned(), points: vec![(0.0, 1.0), (1.0, 3.0)] }],
        }],
        checked: vec![Checked {
            name: "loads".to_owned(),
            measured: Some(2.0),
            bound: Bound::AtMost(1.0),
        }],
        notes: vec!["A note.".to_owned()],
    }
}

fn hybrid(place: &str) -> Vec<Table> {
    let ours = "get_or_load, hybrid";
    let mut tables = Vec::new();
    for way in ["directly", "through the proxy"] {
        let miss = [("raw redis-rs, GET + our two scripts", 100.0), (ours, 110.0)];
        tables.push(table(&format!("hybrid/miss/{way}"), "µs", &miss));
        let times: [(&str, &[f64]); 2] = [
            ("raw round trip: GET", &[50.0, 90.0]),
            ("invalidate until gone from B", &[60.0, 4_000.0]),
        ];
        let id = format!("hybrid/invalidation/{way}");
        tables.push(wide(&id, &["p50 µs", "p99 µs"], &times));
    }
    if place == "all cores" {
        let crowd = ["loads per key", "client CPU µs per caller"];
        tables.push(table("hybrid/round trips", "round trips", &[(ours, 3.0)]));
        tables.push(wide("stampede/10 × 1", &crowd, &[(ours, &[1.0, 50.0])]));
        tables.push(wide("stampede/1000 × 1", &crowd, &[(ours, &[1.0, 2.5])]));
        tables.push(table("fleet/loads", "loads per key", &[("all", 1.0)]));
    }
    tables
}

fn locks(place: &str) -> Vec<Table> {
    let (ours, polling, rslock) =
        ("RedisConcurrencyService", "SET NX PX every 50 ms", "rslock 0.10");
    let mut tables = Vec::new();
    for way in ["directly", "through the proxy"] {
        let free = [
            ("a round trip, GET", 100.0),
            ("acquire, RedisConcurrencyService", 110.0),
            ("release, RedisConcurrencyService", 105.0),
        ];
        tables.push(table(&format!("locks/free/{way}"), "p50 µs", &free));
        let hand_over =
            [("a round trip, GET", 100.0), (ours, 120.0), (polling, 1_200.0), (rslock, 2_400.0)];
        tables.push(table(&format!("locks/hand-over/{way}"), "p50 µs", &hand_over));
        let columns =
            ["locks a second", "attempts a lock", "least by a client", "most by a client"];
        let contended: [(&str, &[f64]); 3] = [
            (ours, &[800.0, 1.0, 20.0, 21.0]),
            (polling, &[780.0, 2.0, 0.0, 90.0]),
            (rslock, &[800.0, 1.5, 0.0, 90.0]),
        ];
        for clients in [16, 64] {
            tables.push(wide(&format!("locks/{clients}/{way}"), &columns, &contended));
        }
    }
    if place == "all cores" {
        let columns = ["attempts a second and process", "commands a second and process"];
        let idle: [(&str, &[f64]); 2] =
            [("ours, a process each", &[0.5, 0.9]), ("ours, all in one process", &[0.4, 0.8])];
        tables.push(wide("locks/idle", &columns, &idle));
        let local = [("tokio mutex in a map, never cleaned", 70.0), ("with_lock", 140.0)];
        tables.push(table("locks/local", "ns", &local));
        let gave_up: [(&str, &[f64]); 1] = [("with_lock", &[0.5, 0.0])];
        tables.push(wide("locks/gave up", &["MiB more", "keys left"], &gave_up));
    }
    tables
}
