//! The checker of locks on histories written by hand.

use cache_core::LockOptions;
use cache_testkit::MockConcurrencyService;
use cache_testkit::lock_history::{
    Access, Exclusion, FencedRegister, Hold, LockClient, LockHistory, LockRecorder, LockViolation,
    Refused, check_locks,
};
use std::sync::Arc;

/// A hold: its fence, when it was asked for and granted, and until when it was known.
fn hold((fence, asked, granted, valid): (u64, u64, u64, u64)) -> Hold {
    let valid = (valid > 0).then_some(valid);
    Hold { client: 0, key: "k".to_owned(), fence, asked, granted, valid }
}

fn holds<const N: usize>(holds: [(u64, u64, u64, u64); N]) -> LockHistory {
    LockHistory { holds: holds.map(hold).to_vec(), accesses: Vec::new() }
}

/// An access: its fence, its beginning and end, and whether it was accepted.
fn accesses<const N: usize>(accesses: [(u64, u64, u64, bool); N]) -> LockHistory {
    let access = |(fence, began, ended, accepted)| {
        let key = "k".to_owned();
        Access { client: 0, key, fence, began, ended, accepted }
    };
    LockHistory { holds: Vec::new(), accesses: accesses.map(access).to_vec() }
}

#[track_caller]
fn right(history: &LockHistory) {
    for exclusion in [Exclusion::Required, Exclusion::Excused] {
        check_locks(history, exclusion).unwrap_or_else(|found| panic!("{exclusion:?}: {found}"));
    }
}

#[track_caller]
fn wrong(history: &LockHistory, exclusion: Exclusion) -> LockViolation {
    *check_locks(history, exclusion).expect_err("it is accepted")
}

#[test]
fn one_after_the_other_in_the_order_of_fences_is_right() {
    right(&LockHistory::default());
    // In any order of recording; who asked first need not have it first.
    right(&holds([(9, 4, 20, 25), (5, 1, 2, 3), (7, 0, 6, 15)]));
    // Granted late, when its lease was over: only its fence counts.
    right(&holds([(5, 0, 9, 0), (6, 1, 2, 3), (7, 4, 5, 20)]));
}

#[test]
fn two_at_once_are_an_overlap() {
    let overlapping = holds([(5, 0, 1, 6), (6, 2, 5, 9)]);
    let found = wrong(&overlapping, Exclusion::Required);
    assert!(matches!(found, LockViolation::Overlap { lower, .. } if lower.fence == 5));
    check_locks(&overlapping, Exclusion::Excused).unwrap();
    // One within the other, and one with others in between.
    wrong(&holds([(5, 0, 1, 20), (6, 2, 5, 9)]), Exclusion::Required);
    wrong(&holds([(5, 0, 1, 20), (6, 2, 5, 6), (7, 7, 8, 9)]), Exclusion::Required);
    // One after the other, but the fences say otherwise.
    wrong(&holds([(6, 0, 2, 3), (5, 1, 4, 5)]), Exclusion::Required);
}

#[test]
fn other_keys_are_other_locks() {
    let mut history = holds([(5, 0, 1, 9), (5, 2, 3, 8)]);
    history.holds[1].key = "other".to_owned();
    right(&history);
}

#[test]
fn a_fence_that_is_used_twice_or_goes_back_is_found_without_exclusion_too() {
    let found = wrong(&holds([(5, 0, 1, 2), (5, 3, 4, 5)]), Exclusion::Excused);
    assert!(matches!(found, LockViolation::SameFence { .. }), "{found}");
    let back = holds([(7, 0, 1, 2), (6, 3, 4, 5)]);
    for exclusion in [Exclusion::Required, Exclusion::Excused] {
        let found = wrong(&back, exclusion);
        assert!(matches!(found, LockViolation::FenceWentBack { .. }), "{found}");
    }
    // Also where it was never found valid, and with others in between.
    wrong(&holds([(7, 0, 1, 0), (8, 1, 9, 0), (3, 4, 9, 0)]), Exclusion::Excused);
    // Asked for before the other was granted: nobody knows the order.
    check_locks(&holds([(7, 0, 2, 0), (6, 1, 3, 0)]), Exclusion::Excused).unwrap();
}

#[test]
fn a_resource_that_accepts_a_lower_fence_is_found() {
    right(&accesses([(5, 0, 1, true), (6, 2, 3, true), (5, 4, 5, false), (6, 6, 7, true)]));
    // At once: nobody knows which was first.
    right(&accesses([(6, 0, 2, true), (5, 1, 3, true)]));
    // A refused one does not raise the bar.
    right(&accesses([(6, 0, 1, false), (5, 2, 3, true)]));
    let found = wrong(&accesses([(6, 0, 1, true), (5, 2, 3, true)]), Exclusion::Excused);
    assert!(matches!(found, LockViolation::LowerFenceAccepted { .. }), "{found}");
    wrong(&accesses([(6, 0, 1, true), (2, 0, 9, true), (5, 2, 3, true)]), Exclusion::Required);
}

#[test]
fn a_register_refuses_whoever_read_before_the_next_holder() {
    let recorder = LockRecorder::new();
    let register = FencedRegister::new(&recorder, "k");
    assert_eq!((register.read(0, 5), register.read(1, 6)), (Ok(0), Ok(0)));
    let refused = Refused { fence: 5, seen: 6 };
    assert_eq!((register.write(0, 5, 1), register.read(0, 5)), (Err(refused), Err(refused)));
    assert_eq!((register.write(1, 6, 1), register.value()), (Ok(()), 1));
    assert_eq!(recorder.history().accesses.len(), 5);
    check_locks(&recorder.history(), Exclusion::Required).unwrap();
}

#[tokio::test]
async fn a_client_records_each_grant_once_and_as_long_as_it_is_known() {
    let mut mock = MockConcurrencyService::new();
    mock.grants("k");
    let recorder = LockRecorder::new();
    let client = LockClient::new(&recorder, 3, Arc::new(mock));
    let guard = client.acquire("k", &LockOptions::default()).await.unwrap();
    let (fence, before) = (guard.fence(), recorder.stamp());
    assert!(recorder.history().holds.is_empty());
    guard.check().unwrap();
    drop(guard);
    let history = recorder.history();
    let [hold] = &history.holds[..] else { panic!("{history:?}") };
    assert_eq!((hold.client, &*hold.key, hold.fence), (3, "k", fence));
    assert!(hold.asked < hold.granted && hold.granted < before && Some(before) < hold.valid);
}
