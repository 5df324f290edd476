//! The report of a run: goals, every form of it, and what is refused.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod run;

use std::error::Error as _;
use std::path::{Path, PathBuf};

use cache_bench_kit::{Goal, Machine, Report, Results, Run, Table, judge, readme};

use self::run::{reached, table};

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
    let run = Run {
        date: "2026-11-21".to_owned(),
        commit: "1a2b3c4".to_owned(),
        arguments: "--trace web".to_owned(),
        seconds: Some(577),
    };
    let report = Report::gather(&directory.0, run, machine()).unwrap();
    (directory, report)
}

#[test]
fn goals_are_the_ratios_they_say() {
    let goals = judge(&reached());
    let measured = |name| goal(&goals, name).measured.unwrap();
    assert_eq!(measured("get_arc on the hybrid / raw quick_cache"), 1.25);
    assert_eq!(measured("raw moka / get_arc"), 6.0, "the faster of the two mokas");
    assert_eq!(measured("the fastest of cached's stores that expire / get_arc"), 2.0);
    assert_eq!(measured("the fastest of all of cached's stores / get_arc"), 1.75);
    assert_eq!(measured("cachet / get_arc"), 10.0);
    assert_eq!(measured("get_or_load / get_arc"), 1.1);
    assert_eq!(measured("with metrics"), 1.125, "the worse of the two");
    assert_eq!(measured("2 threads"), 0.8);
    assert_eq!(measured("points behind"), 0.75, "the worst capacity, the best of foyer's policies");
    assert_eq!(measured("raw quick_cache holding both"), 80.0);
    assert_eq!(measured("raw quick_cache holding Arc<T> only"), 90.0);
    assert_eq!(measured("1,000,000 entries"), 1.25, "the worst operation");
    assert_eq!(
        measured("one core, 256 tasks: throughput / the best raw"),
        2.0,
        "against the faster of the raw ones"
    );
    assert_eq!(measured("all cores, p99 of small reads"), 0.5, "against the best of the raw ones");
    assert_eq!(measured("all cores, 16 tasks: throughput / the best peer"), 3.0);
    assert_eq!(measured("miss / three raw round trips, directly, one core"), 1.1);
    assert_eq!(measured("CPU µs per waiter"), 2.5);
    assert_eq!(measured("p99, ms, through the proxy, all cores"), 4.0);
    assert_eq!(measured("fleet: loads / keys"), 1.0);
    assert_eq!(measured("acquire / a round trip, directly, all cores"), 1.1);
    assert_eq!(measured("rslock / ours, through the proxy, one core"), 20.0);
    assert_eq!(measured("client, 16 clients, directly, all cores"), 1.05, "most / least");
    assert_eq!(measured("the faster of the unfair, 64 clients, directly, one core"), 1.0);
    assert_eq!(measured("a tokio mutex in a map"), 2.0);
    let missed: Vec<_> = goals.iter().filter(|goal| !goal.holds).collect();
    assert!(missed.is_empty(), "{missed:?}");
}

#[test]
fn a_missed_bound_says_so_everywhere() {
    let mut results = reached();
    results[0].tables[0] = table(
        "near/10000 keys/1 thread/150 B",
        "ns",
        &[("raw quick_cache", 10.0), ("get_arc, hybrid", 20.0)],
    );
    let goals = judge(&results);
    let missed = goal(&goals, "get_arc on the hybrid / raw quick_cache");
    assert_eq!((missed.measured, missed.holds), (Some(2.0), false));
    let (_directory, report) = gather(&results, "missed");
    let markdown = report.markdown();
    assert!(markdown.contains("raw quick_cache | 2.00 |  | ≤ 1.6 | **missed** |"), "{markdown}");
    assert!(report.verdicts().lines().any(|line| line.contains("MISSED") && line.contains("2.00")));
}

#[test]
fn a_ratio_is_the_middle_of_those_within_the_rounds() {
    let mut results = reached();
    let mut hits = Table::new("near/10000 keys/1 thread/150 B", "hits", &["ns"]);
    // By their medians 60 / 40, but twice out of three 1.25 in the same process.
    hits.sampled_row("raw quick_cache", &[Some(40.0)], &[40.0, 80.0, 20.0]);
    hits.sampled_row("get_arc, hybrid", &[Some(60.0)], &[50.0, 100.0, 60.0]);
    results[0].tables[0] = hits;
    let goals = judge(&results);
    let near = goal(&goals, "get_arc on the hybrid / raw quick_cache");
    assert_eq!((near.measured, near.range, near.holds), (Some(1.25), Some((1.25, 3.0)), true));
    let (_directory, report) = gather(&results, "rounds");
    assert!(report.markdown().contains("| 1.25 | 1.25–3.00 | ≤ 1.6 | holds |"));
}

#[test]
fn the_worst_of_what_is_not_judged_stands_beside_a_goal() {
    let mut results = reached();
    let cell = |id: &str, raw: f64| {
        table(id, "ns", &[("raw quick_cache", raw), ("get_arc, hybrid", 50.0)])
    };
    results[0].tables.insert(0, cell("near/64 keys/1 thread/150 B", 40.0));
    results[0].tables.insert(0, cell("near/10000 keys/1 thread/4 KiB", 20.0));
    results[0].tables.insert(0, cell("near/64 keys/2 threads/150 B", 10.0));
    let goals = judge(&results);
    let near = goal(&goals, "get_arc on the hybrid / raw quick_cache");
    assert_eq!((near.measured, near.holds), (Some(1.25), true));
    let elsewhere = near.elsewhere.as_ref().unwrap();
    assert_eq!(elsewhere.measured, 2.5, "by as many threads");
    assert_eq!(elsewhere.at, "near/10000 keys/1 thread/4 KiB");
    let (_directory, report) = gather(&results, "elsewhere");
    let text = "| holds | 2.50 (near/10000 keys/1 thread/4 KiB), misses |";
    assert!(report.markdown().contains(text), "{}", report.markdown());
    // This one and the one about two threads.
    let text =
        "Of these, 2 were measured with other numbers of keys or other values as well: 0 hold";
    assert!(report.markdown().contains(text), "{}", report.markdown());
}

#[test]
fn what_allocates_with_another_size_stands_beside_the_goal() {
    let mut results = reached();
    let row = [("get_arc, hybrid", 1.0)];
    results[0].tables.push(table("near/allocations/4 KiB", "allocations", &row));
    let goals = judge(&results);
    let allocations = goal(&goals, "allocations of get_arc");
    assert_eq!((allocations.measured, allocations.holds), (Some(0.0), true));
    assert_eq!(allocations.elsewhere.as_ref().unwrap().measured, 1.0);
}

#[test]
fn without_values_of_150_bytes_the_first_size_is_judged() {
    let mut results = reached();
    for table in results.iter_mut().flat_map(|results| &mut results.tables) {
        table.id = table.id.replace("150 B", "1 KiB");
    }
    assert!(judge(&results).iter().all(|goal| goal.holds));
}

#[test]
fn what_was_not_measured_does_not_hold() {
    let goals = judge(&[]);
    assert!(goals.len() >= 85, "{}", goals.len());
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
    for part in [
        "2026-11-21",
        "Z80",
        "commit 1a2b3c4",
        "`scripts/bench --trace web`, measured in 577 s",
        "A note.",
        "As it was.",
        "\n### Locks\n",
        "| loads | 2.00 | ≤ 1 | **missed** |",
        "| fred |",
    ] {
        assert!(markdown.contains(part), "{part}");
    }
    let json: serde_json::Value = read_json(&out.join("report.json"));
    let goals = json["goals"].as_array().unwrap();
    assert_eq!(goals.len(), report.goals.len());
    assert_eq!(goals[0]["measured"], 1.25);
    assert_eq!(goals[0]["bound"]["at_most"], 1.6);
    assert_eq!(goals[0]["holds"], true);
    assert_eq!(json["machine"]["cores"], 2);
    assert_eq!(goals[0]["group"], "In process");
    assert_eq!(json["commit"], "1a2b3c4");
    let ids = json["results"].as_array().unwrap().iter().map(|results| &results["tables"][0]["id"]);
    assert!(ids.into_iter().any(|id| id == "redis/1 task/150 B"));

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
    let name = "near-10000-keys-1-thread-150-B-all-cores.svg";
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
        let error = Report::gather(&directory.0, Run::default(), machine()).unwrap_err();
        assert!(error.to_string().contains("near, all cores.json"), "{error}");
        assert!(error.source().is_some_and(|source| source.to_string().contains("line 1")));
    }
    let empty = Directory::new("empty");
    let error = Report::gather(&empty.0, Run::default(), machine()).unwrap_err();
    assert!(error.to_string().contains(&*empty.0.to_string_lossy()), "{error}");
}

#[test]
fn the_readme_shows_figures_of_the_report() {
    let mut results = reached();
    results[1].tables[2].rows[3].cells.insert("client CPU µs".to_owned(), 3.25);
    let (_directory, report) = gather(&results, "readme");
    let before = "# Name\n<!-- Figures: scripts/bench writes them. -->\nold\n<!-- End of the figures. -->\nrest\n";
    let after = readme(before, &report).unwrap();
    assert!(after.starts_with("# Name\n") && after.ends_with("-->\nrest\n"), "{after}");
    assert!(!after.contains("old") && after.contains("2026-11-21"), "{after}");
    assert!(after.contains("| get_arc, hybrid | 50.0 | – | 0 |\n"), "{after}");
    assert!(after.contains("| get, dyn CacheService | 125 | 3.25 |\n"), "{after}");
    assert!(after.contains("`scripts/bench --trace web`"), "{after}");
    assert!(after.contains("150 B of JSON"), "{after}");
    assert_eq!(readme(&after, &report).unwrap(), after);
    assert_eq!(readme("# Name\n", &report), None);
}

#[test]
fn the_readme_shows_the_size_that_is_judged() {
    let mut results = reached();
    for table in results.iter_mut().flat_map(|results| &mut results.tables) {
        table.id = table.id.replace("150 B", "300 B");
    }
    let (_directory, report) = gather(&results, "another size");
    let before = "<!-- Figures: scripts/bench writes them. -->\n<!-- End of the figures. -->";
    let after = readme(before, &report).unwrap();
    assert!(after.contains("300 B of JSON") && after.contains("Reads of 300 B"), "{after}");
    assert!(after.contains("near-10000-keys-1-thread-300-B-all-cores.svg"), "{after}");
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
