//! What a cache declares must be so, and what it does not declare too.

use std::panic::{AssertUnwindSafe, catch_unwind};

use cache_testkit::suite::run_capabilities;
use cache_testkit::{CacheHarness, Capabilities, Capability};

use crate::backend::harness_of;

fn holds(harness: impl Fn() -> CacheHarness) -> bool {
    catch_unwind(AssertUnwindSafe(|| run_capabilities(harness))).is_ok()
}

fn map() -> CacheHarness {
    harness_of(|store| store)
}

#[test]
fn a_true_declaration_holds() {
    assert!(holds(map));
}

#[test]
fn a_false_declaration_does_not_either_way() {
    for capability in Capability::ALL {
        let declared = Capabilities::in_process();
        let wrong = if declared.has(capability) {
            declared.without(capability)
        } else {
            declared.with(capability)
        };
        assert!(!holds(|| map().capabilities(wrong.clone())), "{capability:?} is not held to");
    }
}
