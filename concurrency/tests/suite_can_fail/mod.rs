//! The suite on backends that are wrong on purpose: each fault is found by the behaviour that is there for
//! it. And on backends that are without a part of the contract, and say so: nothing is found there.
#![allow(clippy::unwrap_used, reason = "test code, also outside of test functions")]

mod broken;
mod lacking;

use std::panic::{AssertUnwindSafe, catch_unwind};

use broken::{Broken, Fault};
use cache_testkit::concurrency_suite::*;

/// What `behaviour` complains about, if it fails.
fn complaint<B: Future<Output = ()>>(
    factory: impl FnOnce() -> LockHarness,
    behaviour: impl FnOnce(LockHarness) -> B,
) -> Option<String> {
    let run = || {
        run_lock_behaviour(LockCapabilities::ALL, LockCapability::Exclusion, factory, behaviour);
    };
    let payload = catch_unwind(AssertUnwindSafe(run)).err()?;
    let said = payload.downcast_ref::<String>().cloned();
    said.or_else(|| payload.downcast_ref::<&str>().map(|said| (*said).to_owned()))
}

/// Each fault, the behaviour that finds it, and what that says.
macro_rules! found {
    ($($test:ident: $fault:ident in $harness:ident, $behaviour:ident, $says:literal;)+) => {$(
        #[test]
        fn $test() {
            let found = complaint(|| Broken::$harness(Fault::$fault), $behaviour);
            let found = found.expect("it is found");
            assert!(found.contains($says), "{found}");
            assert_eq!(complaint(|| Broken::$harness(Fault::None), $behaviour), None);
        }
    )+};
}

found! {
    a_release_that_hits_the_successor_is_found: ReleaseByKey in harness,
        p4_16_the_next_takes_over_and_the_late_release_spares_it, "still held";
    a_repeated_token_is_found: RepeatedToken in harness,
        tokens_increase_with_every_grant, "round 1";
    a_token_of_another_sequence_is_found: TryTokenLower in harness,
        tokens_increase_with_every_grant, "round 1";
    a_token_that_starts_anew_after_a_lease_is_found: TokenStartsAnew in harness,
        p4_16_lost_tells_when_the_lease_ends, "FencingToken(1) after";
    a_token_that_starts_anew_after_a_forced_release_is_found: TokenStartsAnew in harness,
        tokens_increase_after_a_forced_release, "FencingToken(1) after";
    a_try_that_waits_is_found: TryWaits in in_real_time,
        p4_02_a_held_lock_is_not_waited_for_by_try, "a try takes longer";
    a_wait_that_goes_on_is_found: WaitsOn in in_real_time,
        p4_03_waiting_is_bounded, "a wait that is over takes longer";
    a_grant_that_leaks_is_found: LeaksGrant in harness,
        p4_04_a_grant_that_nobody_takes_passes_on, "it is not free";
    a_renewal_of_anothers_lock_is_found: RenewsByKey in harness,
        p4_15_a_renewal_leaves_the_next_holder_alone, "it is not free";
    a_holder_that_is_over_and_shown_is_found: ShowsExpired in harness,
        p4_16_lost_tells_when_the_lease_ends, "a holder is shown";
    a_holder_that_is_over_and_listed_is_found: ListsExpired in harness,
        p4_16_lost_tells_when_the_lease_ends, "a lock is listed";
    folded_keys_are_found: FoldsKeys in harness,
        keys_are_taken_literally, "taken for another key";
    a_client_with_a_line_of_its_own_is_found: Barging in between_two,
        p4_08_two_clients_wait_in_one_line, "round";
    a_client_with_tokens_of_its_own_is_found: LowerToken in between_two,
        tokens_increase_from_client_to_client, "round 1";
    a_client_that_takes_no_lock_away_is_found: ForcesNothing in between_two,
        force_release_reaches_another_client, "force_release";
}

#[test]
fn barging_is_found() {
    // Whether the releaser wins the race is up to the scheduler: now and then suffices.
    let behaviour = p4_09_the_releaser_does_not_overtake;
    let found = (0..1000).find_map(|_| complaint(|| Broken::harness(Fault::Barging), behaviour));
    assert!(found.expect("barging is found").contains("overtaken"));
    assert_eq!(complaint(|| Broken::harness(Fault::None), behaviour), None);
}

#[test]
fn clients_that_exclude_within_themselves_only_are_found() {
    let found = complaint(Broken::apart, p4_06_two_clients_exclude_each_other);
    assert!(found.expect("it is found").contains("both hold it"));
    let found = complaint(Broken::apart, inspect_tells_of_another_client);
    assert!(found.expect("it is found").contains("it is held"));
    let found = complaint(Broken::apart, p4_27_a_lease_ends_for_another_client);
    assert!(found.expect("it is found").contains("still held"));
}

#[test]
fn what_two_clients_have_to_do_is_done_by_those_that_are_well() {
    let well = || Broken::between_two(Fault::None);
    assert_eq!(complaint(well, p4_04_a_cancelled_waiter_is_gone_for_another_client), None);
    assert_eq!(complaint(well, p4_06_two_clients_exclude_each_other), None);
    assert_eq!(complaint(well, p4_09_a_client_does_not_overtake_another), None);
    assert_eq!(complaint(well, p4_27_a_lease_ends_for_another_client), None);
    assert_eq!(complaint(well, inspect_tells_of_another_client), None);
}
