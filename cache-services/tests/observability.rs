//! The rules, the board and the page about them say what the library exports, and the rules work.

// Helpers of tests fail the test, as the tests themselves do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod scrape;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use cache_services::{CacheServiceExt, CacheServices};
use cache_testkit::{RedisServer, eventually};
use scrape::{Scrape, Watched, of_metric};
use serde_json::Value;

fn path(relative: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(relative)
}

fn text(relative: &str) -> String {
    let path = path(relative);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn rules() -> String {
    text("../docs/observability/alerts.yml")
}

fn promtool(arguments: &[&str], file: &Path) {
    let ran = Command::new("promtool").args(arguments).arg(file).output();
    let ran = ran.unwrap_or_else(|error| {
        panic!(
            "promtool does not run ({error}). It checks the alerts: as root on Debian or Ubuntu, \
             'apt-get install prometheus'; elsewhere the package that has it"
        )
    });
    let said = [ran.stdout, ran.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
    assert!(ran.status.success(), "promtool {arguments:?}: {}", said.concat());
}

/// All that a service on Redis exports that has looked something up.
async fn exported() -> Scrape {
    let server = RedisServer::start();
    let watched = Watched::in_service(CacheServices::builder().redis_url(server.url())).await;
    watched.services.cache().get::<u64>("k").await.unwrap();
    eventually(|| watched.scrape().figures.contains_key("cache_bus_lag_seconds")).await;
    watched.scrape()
}

/// The names in a text that are like those of the family's metrics.
fn names(text: &str) -> BTreeSet<&str> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    words.filter(|word| word.starts_with("cache_") || word.starts_with("lock_")).collect()
}

/// The queries of the board.
fn queries(board: &Value) -> Vec<String> {
    let panels = board["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    targets.map(|target| target["expr"].as_str().unwrap().to_owned()).collect()
}

fn board() -> Value {
    serde_json::from_str(&text("../docs/observability/dashboard.json")).unwrap()
}

/// Kind and labels of each metric on the page.
fn documented() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let page = text("../docs/observability.md");
    let rows =
        page.lines().filter(|line| line.starts_with("| `cache_") || line.starts_with("| `lock_"));
    let rows = rows.map(|row| {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let code = |cell: &str| cell.trim_matches('`').to_owned();
        assert!(!cells[2].is_empty() && !cells[4].is_empty(), "unit and meaning: {row}");
        (code(cells[0]), (cells[1].to_owned(), cells[3].split(", ").map(code).collect()))
    });
    rows.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_lists_what_is_exported_and_nothing_else() {
    let exported = exported().await;
    let label = |label: &String| label != "le";
    let found: BTreeMap<_, _> = (exported.kinds.iter())
        .map(|(name, kind)| {
            let labels = exported.labels[name].iter().filter(|name| label(name)).cloned();
            (name.clone(), (kind.clone(), labels.collect::<BTreeSet<_>>()))
        })
        .collect();
    assert_eq!(documented(), found, "docs/observability.md (left) and a scrape (right)");
    for name in found.keys() {
        assert!(exported.help.get(name).is_some_and(|help| !help.is_empty()), "{name} has no help");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_alerts_and_the_board_ask_for_what_is_exported() {
    let exported = exported().await;
    let board = queries(&board()).join("\n");
    // Queries alone: what people read may name what it likes.
    let rules = rules();
    let rules = rules.lines().filter(|line| !line.trim_start().starts_with('#'));
    let rules = rules.collect::<Vec<_>>().join("\n");
    for (what, asked) in [("alerts.yml", names(&rules)), ("dashboard.json", names(&board))] {
        assert!(!asked.is_empty(), "{what}");
        for name in asked {
            let metric = of_metric(name, &exported.kinds);
            assert!(exported.kinds.contains_key(metric), "{what} asks for {name}");
            let of_histogram = exported.kinds[metric] == "histogram";
            assert_eq!(of_histogram, metric != name, "{what}: {name} has no series of its own");
        }
    }
    let shown: BTreeSet<_> =
        names(&board).into_iter().map(|name| of_metric(name, &exported.kinds)).collect();
    let all: BTreeSet<_> = exported.kinds.keys().map(String::as_str).collect();
    assert_eq!(shown, all, "the board shows everything");
}

#[test]
fn the_alerts_are_valid_and_fire_when_they_should() {
    promtool(&["check", "rules"], &path("../docs/observability/alerts.yml"));
    promtool(&["test", "rules"], &path("tests/alerts_test.yml"));
}

/// An alert without a test of its own could be anything.
#[test]
fn every_alert_is_tested_both_ways_and_explained() {
    let (rules, tests, page) =
        (rules(), text("tests/alerts_test.yml"), text("../docs/observability.md"));
    let alerts = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
    let alerts: Vec<_> = alerts.collect();
    assert_eq!(alerts.len(), 5);
    for alert in alerts {
        let expected = tests.split("alertname: ").filter_map(|test| test.strip_prefix(alert));
        let quiet = |test: &str| test.trim_start().starts_with("exp_alerts: []");
        let (quiet, firing): (Vec<_>, Vec<_>) = expected.partition(|test| quiet(test));
        assert!(!quiet.is_empty() && !firing.is_empty(), "{alert}");
        assert!(page.contains(&format!("| `{alert}` |")), "{alert} is not on the page");
    }
}

/// Its queries are checked as rules: promtool has no other way.
#[test]
fn the_board_is_whole_and_its_queries_are_valid() {
    let board = board();
    let panels = board["panels"].as_array().unwrap();
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "two panels have one id");
    for panel in panels {
        let place = &panel["gridPos"];
        let right = place["x"].as_u64().unwrap() + place["w"].as_u64().unwrap();
        assert!(right <= 24 && panel["title"].is_string(), "{panel:#}");
    }
    let file = std::env::temp_dir().join(format!("board-{}.yml", std::process::id()));
    let mut rules = String::from("groups:\n- name: board\n  rules:\n");
    for (number, query) in queries(&board).into_iter().enumerate() {
        let query = query.replace("$__rate_interval", "5m").replace("$cache", ".*");
        let query = query.replace("$instance", ".*");
        assert!(!query.contains('$'), "{query}: a variable that the board does not have");
        rules += &format!("  - record: board:query:{number}\n    expr: {query:?}\n");
    }
    std::fs::write(&file, rules).unwrap();
    promtool(&["check", "rules"], &file);
    std::fs::remove_file(&file).unwrap();
}
