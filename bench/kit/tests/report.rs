//! The report of a run: goals, every form of it, and what is refused.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

use std::error::Error as _;
use std::path::{Path, PathBuf};

use cache_bench_kit::{
    Bound, Checked, Goal, Line, Machine, Plot, Report, Results, Table, judge, readme,
};

/// A directory that goes with the test.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("bench-kit-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.join(name), text).unwrap();
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn table(id: &str, column: &str, rows: &[(&str, f64)]) -> Table {
    let mut table = Table::new(id, id, &[column]);
    for (name, value) in rows {
        table.row(*name, &[Some(*value)]);
    }
    table
}

/// A run in which everything is reached, with numbers that are easy to divide.
fn reached() -> Vec<Results> {
    let hits = [
        ("raw quick_cache", 40.0),
        ("get_arc, hybrid", 50.0),
        ("get_or_load, hybrid", 55.0),
        ("raw moka, sync", 300.0),
        ("raw moka, future", 400.0),
        ("cached, ShardedTtlCache", 100.0),
        ("cached, macro", 200.0),
        ("cachet", 500.0),
        ("hitbox", 1000.0),
        ("multi-tier-cache", 1200.0),
    ];
    let mut growth = Table::new("near/growth", "growth", &["×"]);
    growth.row("set", &[Some(1.25)]);
    growth.row("get_arc", &[Some(1.1)]);
    let mut ratios = Table::new("hit ratio/zipf", "zipf", &["64 entries", "128 entries"]);
    ratios.row("ours, quick", &[Some(50.0), Some(60.0)]);
    ratios.row("raw moka", &[Some(49.0), Some(60.5)]);
    ratios.row("raw foyer, S3-FIFO", &[Some(50.25), Some(59.0)]);
    let near = Results {
        program: "near".to_owned(),
        place: "all cores".to_owned(),
        tables: vec![
            table("near/10000 keys/150 B/1 thread", "ns", &hits),
            table("near/10000 keys/150 B/2 threads", "ns", &hits),
            table("near/allocations", "allocations", &[("get_arc, hybrid", 0.0)]),
            table(
                "near/instrumented",
                "×",
                &[("get_arc, hybrid", 1.0), ("get_or_load, hybrid", 1.125)],
            ),
            table(
                "near/memory",
                "bytes",
                &[
                    ("raw quick_cache, encoded", 200.0),
                    ("ours, encoded", 264.0),
                    ("raw quick_cache, encoded and decoded", 400.0),
                    ("ours, encoded and decoded", 480.0),
                ],
            ),
            growth,
            ratios,
        ],
        ..Results::default()
    };
    vec![near, redis("all cores"), redis("one core")]
}

fn redis(place: &str) -> Results {
    let by_tasks = |id: &str, ours: f64, raw: f64| {
        let rows = [
            ("raw redis-rs, 1 connection", raw),
            ("raw redis-rs, 4 connections", raw * 2.0),
            ("get, dyn CacheService", ours),
            ("fred", 30.0),
            ("cached", 40.0),
            ("hitbox-redis", 50.0),
            ("multi-tier-cache", 60.0),
        ];
        table(id, "µs", &rows)
    };
    let large = [("raw redis-rs, 1 connection", 900.0), ("get, dyn CacheService", 450.0)];
    Results {
        program: "redis".to_owned(),
        place: place.to_owned(),
        tables: vec![
            by_tasks("redis/1 task", 10.0, 10.0),
            by_tasks("redis/16 tasks", 10.0, 10.0),
            by_tasks("redis/64 tasks", 8.0, 10.0),
            by_tasks("redis/256 tasks", 5.0, 10.0),
            table("redis/large", "p99 µs", &large),
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

fn goal<'a>(goals: &'a [Goal], name: &str) -> &'a Goal {
    let mut found = goals.iter().filter(|goal| goal.name.contains(name));
    let goal = found.next().unwrap_or_else(|| panic!("no goal {name}"));
    assert!(found.next().is_none(), "more than one goal {name}");
    goal
}

fn machine() -> Machine {
    Machine { processor: "Z80".to_owned(), cores: 2, memory_gib: 4, system: "Linux 6".to_owned() }
}

fn gather(results: &[Results], name: &str) -> (Directory, Report) {
    let directory = Directory::new(name);
    for results in results {
        let file = format!("{}, {}.json", results.program, results.place);
        directory.write(&file, &serde_json::to_string(results).unwrap());
    }
    let report = Report::gather(&directory.0, "2026-11-21".to_owned(), machine()).unwrap();
    (directory, report)
}

#[test]
fn goals_are_the_ratios_they_say() {
    let goals = judge(&reached());
    let measured = |name| goal(&goals, name).measured.unwrap();
    assert_eq!(measured("get_arc on the hybrid / raw quick_cache"), 1.25);
    assert_eq!(measured("raw moka / get_arc"), 6.0, "the faster of the two mokas");
    assert_eq!(measured("the fastest of cached's stores / get_arc"), 2.0);
    assert_eq!(measured("cachet / get_arc"), 10.0);
    assert_eq!(measured("get_or_load / get_arc"), 1.1);
    assert_eq!(measured("with metrics"), 1.125, "the worse of the two");
    assert_eq!(measured("2 threads"), 0.8);
    assert_eq!(measured("points behind"), 0.5, "the worst capacity");
    assert_eq!(measured("raw quick_cache, encoded and decoded"), 80.0);
    assert_eq!(measured("1,000,000 entries"), 1.25, "the worst operation");
    assert_eq!(measured("one core, 256 tasks"), 2.0, "against the faster of the raw ones");
    assert_eq!(measured("all cores, p99 of small reads"), 0.5);
    assert_eq!(measured("all cores, throughput / the best peer"), 3.0);
    let missed: Vec<_> = goals.iter().filter(|goal| !goal.holds).collect();
    assert!(missed.is_empty(), "{missed:?}");
}

#[test]
fn a_missed_bound_says_so_everywhere() {
    let mut results = reached();
    results[0].tables[0] = table(
        "near/10000 keys/150 B/1 thread",
        "ns",
        &[("raw quick_cache", 10.0), ("get_arc, hybrid", 20.0)],
    );
    let goals = judge(&results);
    let missed = goal(&goals, "get_arc on the hybrid / raw quick_cache");
    assert_eq!((missed.measured, missed.holds), (Some(2.0), false));
    let (_directory, report) = gather(&results, "missed");
    let markdown = report.markdown();
    assert!(markdown.contains("raw quick_cache | 2.00 | ≤ 1.6 | **missed** |"), "{markdown}");
    assert!(report.verdicts().lines().any(|line| line.contains("MISSED") && line.contains("2.00")));
}

#[test]
fn what_was_not_measured_does_not_hold() {
    let goals = judge(&[]);
    assert!(goals.len() >= 25, "{}", goals.len());
    assert!(goals.iter().all(|goal| goal.measured.is_none() && !goal.holds));
    let mut results = reached();
    results.truncate(1);
    let (_directory, report) = gather(&results, "partial");
    assert!(report.markdown().contains("Redis, one core, 64 tasks"));
    assert!(report.markdown().contains("**not measured**"));
}

#[test]
fn one_contestant_less_makes_a_hit_ratio_unknown() {
    let mut results = reached();
    results[0].tables.last_mut().unwrap().rows.retain(|row| row.name != "raw moka");
    assert_eq!(goal(&judge(&results), "points behind").measured, None);
}

#[test]
fn the_report_has_everything() {
    let (directory, report) = gather(&reached(), "everything");
    let out = directory.0.join("report");
    std::fs::create_dir(&out).unwrap();
    std::fs::write(out.join("of-another-run.svg"), "").unwrap();
    report.write(&out).unwrap();

    let markdown = std::fs::read_to_string(out.join("report.md")).unwrap();
    for goal in &report.goals {
        assert!(markdown.contains(&goal.name), "{}", goal.name);
    }
    for part in ["2026-11-21", "Z80", "A note.", "| loads | 2.00 | ≤ 1 | **missed** |", "| fred |"]
    {
        assert!(markdown.contains(part), "{part}");
    }
    let json: serde_json::Value = read_json(&out.join("report.json"));
    let goals = json["goals"].as_array().unwrap();
    assert_eq!(goals.len(), report.goals.len());
    assert_eq!(goals[0]["measured"], 1.25);
    assert_eq!(goals[0]["bound"]["at_most"], 1.6);
    assert_eq!(goals[0]["holds"], true);
    assert_eq!(json["machine"]["cores"], 2);
    assert_eq!(json["results"][1]["tables"][0]["id"], "redis/1 task");

    for picture in ["outage-all-cores.svg", "outage-one-core.svg"] {
        let svg = std::fs::read_to_string(out.join(picture)).unwrap();
        assert!(svg.starts_with("<svg") && svg.contains("An outage"), "{picture}");
        assert!(markdown.contains(&format!("]({picture})")), "{picture}");
    }
    assert!(!out.join("of-another-run.svg").exists());
}

#[test]
fn a_table_with_bars_is_drawn() {
    let mut results = reached();
    let first = results[0].tables.remove(0);
    results[0].tables.insert(0, first.with_bars("ns"));
    let (directory, report) = gather(&results, "bars");
    report.write(&directory.0).unwrap();
    let name = "near-10000-keys-150-B-1-thread-all-cores.svg";
    let svg = std::fs::read_to_string(directory.0.join(name)).unwrap();
    assert!(svg.contains("multi-tier-cache") && svg.contains("1200"), "{svg}");
}

#[test]
fn what_is_no_results_is_refused_by_name() {
    for (name, text) in
        [("half", r#"{"program": "near""#), ("other", r#"{"program": "near", "x": 1}"#)]
    {
        let directory = Directory::new(name);
        directory.write("good.json", &serde_json::to_string(&reached()[0]).unwrap());
        directory.write("near, all cores.json", text);
        let error = Report::gather(&directory.0, String::new(), machine()).unwrap_err();
        assert!(error.to_string().contains("near, all cores.json"), "{error}");
        assert!(error.source().is_some_and(|source| source.to_string().contains("line 1")));
    }
    let empty = Directory::new("empty");
    let error = Report::gather(&empty.0, String::new(), machine()).unwrap_err();
    assert!(error.to_string().contains(&*empty.0.to_string_lossy()), "{error}");
}

#[test]
fn the_readme_shows_figures_of_the_report() {
    let mut results = reached();
    results[1].tables[2].rows[2].cells.insert("client CPU µs".to_owned(), 3.25);
    let (_directory, report) = gather(&results, "readme");
    let before = "# Name\n<!-- Figures: scripts/bench writes them. -->\nold\n<!-- End of the figures. -->\nrest\n";
    let after = readme(before, &report).unwrap();
    assert!(after.starts_with("# Name\n") && after.ends_with("-->\nrest\n"), "{after}");
    assert!(!after.contains("old") && after.contains("2026-11-21"), "{after}");
    assert!(after.contains("| get_arc, hybrid | 50.0 | – | 0 |\n"), "{after}");
    assert!(after.contains("| get, dyn CacheService | 125 | 3.25 |\n"), "{after}");
    assert_eq!(readme(&after, &report).unwrap(), after);
    assert_eq!(readme("# Name\n", &report), None);
}

#[test]
fn what_is_committed_belongs_together() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let json = std::fs::read(root.join("bench/report/report.json")).unwrap();
    let report: Report = serde_json::from_slice(&json).unwrap();
    let text = |path: &str| std::fs::read_to_string(root.join(path)).unwrap();
    assert_eq!(text("bench/report/report.md"), report.markdown());
    assert_eq!(Some(text("README.md")), readme(&text("README.md"), &report));
    let judged = judge(&report.results);
    assert_eq!(report.goals, judged, "the goals have changed: scripts/bench makes a report anew");
}

fn read_json(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}
