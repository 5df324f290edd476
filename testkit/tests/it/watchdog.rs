//! What a behaviour may do to its thread and its runtime: block the one, need the other as it goes.

use std::env;
use std::process::{Command, Stdio};
use std::time::Duration;

use cache_core::ReadThrough;
use cache_testkit::suite::{Behaviour, run, run_within};
use cache_testkit::{CacheHarness, FlakyCache, ManualClock, Operation};

use crate::backend::{MapStore, harness_of};

/// Set in the process that blocks.
const BLOCKS: &str = "CACHE_TESTKIT_TEST_BLOCKS";

fn blocked() {
    let harness = || {
        let clock = ManualClock::new();
        let store = FlakyCache::remote(MapStore::new(clock.clock()));
        let blocks = |_: &Operation| loop {
            std::thread::park();
        };
        store.faults().when(blocks).yields(1);
        CacheHarness::new(ReadThrough::new(store)).clock(clock)
    };
    let behaviour = Behaviour::named("a_missing_key_is_none").unwrap();
    run_within(Duration::from_millis(500), harness, behaviour);
}

#[test]
fn a_thread_that_blocks_ends_the_process_with_the_behaviour_s_name() {
    if env::var_os(BLOCKS).is_some() {
        return blocked();
    }
    let name = "watchdog::a_thread_that_blocks_ends_the_process_with_the_behaviour_s_name";
    let process = Command::new(env::current_exe().unwrap())
        .args(["--exact", name])
        .env(BLOCKS, "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(!process.status.success());
    let said = String::from_utf8_lossy(&process.stderr);
    assert!(said.contains("a_missing_key_is_none has blocked its thread"), "{said}");
}

/// Closes in a task, as a client of a server may.
struct ClosesInATask;

impl Drop for ClosesInATask {
    fn drop(&mut self) {
        tokio::spawn(async {});
    }
}

#[test]
fn a_harness_is_dropped_while_its_runtime_is_there() {
    let behaviour = Behaviour::named("a_missing_key_is_none").unwrap();
    run(|| harness_of(|store| store).keep(ClosesInATask), behaviour);
}
