//! No behaviour is forgotten: what the suite's files define is what the list runs.

use std::collections::BTreeSet;
use std::path::Path;

use cache_testkit::Capability;
use cache_testkit::suite::BEHAVIOURS;

#[test]
fn every_behaviour_is_on_the_list() {
    let suite = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/suite");
    let mut defined = BTreeSet::new();
    for file in std::fs::read_dir(suite).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        let functions = text.lines().filter_map(|line| line.strip_prefix("pub async fn "));
        defined.extend(functions.map(|rest| rest.split('(').next().unwrap().to_owned()));
    }
    let listed: BTreeSet<_> =
        BEHAVIOURS.iter().map(|behaviour| behaviour.name.to_owned()).collect();
    assert_eq!(listed.len(), BEHAVIOURS.len(), "two behaviours of one name");
    assert_eq!(defined, listed);
}

#[test]
fn every_capability_has_a_behaviour() {
    for capability in Capability::ALL {
        assert!(BEHAVIOURS.iter().any(|behaviour| behaviour.capabilities.contains(&capability)));
    }
}

#[test]
fn every_scenario_of_the_suite_has_a_behaviour() {
    let numbers = (1..=4).chain(8..=11).map(|n| format!("p1_{n:02}_"));
    let numbers = numbers.chain((1..=7).chain(10..=15).map(|n| format!("p3_{n:02}_")));
    let numbers = numbers.chain(["p7_".to_owned(), "p8_01_".to_owned(), "p8_02_".to_owned()]);
    for number in numbers {
        let has = BEHAVIOURS.iter().any(|behaviour| behaviour.name.starts_with(&number));
        assert!(has, "no behaviour {number}");
    }
}
