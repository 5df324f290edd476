//! What is kept, for how long, and what it stands for.

use super::*;

fn drain(replay: &Replay) -> Vec<Selector> {
    let done = |batch: Batch| {
        replay.done(&batch);
        batch.what
    };
    replay.batches().into_iter().map(done).collect()
}

fn keys(keys: &[&str]) -> Selector {
    Selector::Keys(keys.iter().map(|key| (*key).to_owned()).collect())
}

#[test]
fn each_key_once_in_the_order_of_its_last_and_sweeps_after() {
    let replay = Replay::new(10, Beyond::DropsOldest);
    replay.add(&keys(&["a", "b"]));
    replay.add(&Selector::Prefix("x".into()));
    replay.add(&keys(&["c", "a"]));
    assert_eq!(replay.len(), 4);
    assert_eq!(drain(&replay), [keys(&["b", "c", "a"]), Selector::Prefix("x".into())]);
    let queue = replay.queue.lock();
    assert!(replay.len() == 0 && queue.keys.is_empty() && queue.prefixes.is_empty());
}

#[test]
fn what_covers_others_stands_for_them() {
    let replay = Replay::new(10, Beyond::DropsOldest);
    replay.add(&keys(&["x1", "b"]));
    replay.add(&Selector::Prefix("x".into()));
    assert_eq!(replay.len(), 2);
    for more in [Selector::Prefix("x3".into()), Selector::Prefix("x".into())] {
        replay.add(&more);
        assert_eq!(replay.len(), 2);
    }
    replay.add(&Selector::All);
    replay.add(&Selector::Prefix("y".into()));
    assert_eq!(drain(&replay), [Selector::All]);
    assert!(replay.queue.lock().all.is_none());
}

#[test]
fn what_is_owed_of_a_key() {
    let replay = Replay::new(10, Beyond::DropsOldest);
    assert_eq!(replay.owed(["a"]), Owed::Nothing);
    replay.add(&keys(&["a"]));
    replay.add(&Selector::Prefix("ö:".into()));
    assert_eq!(replay.owed(["b", "ö", "aa"]), Owed::Nothing);
    assert_eq!(replay.owed(["b", "a"]), Owed::Key);
    assert_eq!(replay.owed(["a", "ö:1"]), Owed::Sweep);
    replay.add(&Selector::All);
    assert_eq!(replay.owed(["b"]), Owed::Sweep);
}

#[test]
fn the_oldest_goes_first_and_never_what_covers_the_rest() {
    let replay = Replay::new(3, Beyond::DropsOldest);
    replay.add(&keys(&["a", "b", "c", "d", "e"]));
    assert_eq!((replay.len(), replay.dropped()), (3, 2));
    assert_eq!(drain(&replay), [keys(&["c", "d", "e"])]);
    for sweep in [Selector::All, Selector::Prefix(String::new())] {
        replay.add(&sweep);
        replay.add(&keys(&["a", "b", "c", "d", "e"]));
        assert_eq!((replay.len(), replay.owed(["z"])), (3, Owed::Sweep));
        assert_eq!(drain(&replay), [keys(&["a", "b"]), sweep]);
    }
    assert_eq!(replay.dropped(), 2);
}

#[test]
fn beyond_the_bound_everything_stands_for_all_where_that_is_wanted() {
    let replay = Replay::new(3, Beyond::KeepsAll);
    replay.add(&keys(&["a", "b", "c"]));
    replay.add(&Selector::Prefix("x".into()));
    assert_eq!((replay.len(), replay.owed(["a"])), (1, Owed::Sweep));
    replay.add(&keys(&["d", "e", "f"]));
    assert!(replay.len() <= 3 && replay.dropped() == 0);
    assert!(drain(&replay).contains(&Selector::All));
    replay.add(&keys(&["a", "b", "c", "d", "e"]));
    assert_eq!(drain(&replay), [Selector::All]);
}

#[test]
fn a_key_without_room_is_left_to_the_sweep_that_covers_it() {
    let replay = Replay::new(3, Beyond::DropsOldest);
    replay.add(&Selector::Prefix("x".into()));
    replay.add(&keys(&["x1", "y1"]));
    let under_way = replay.batches_of(Kind::Sweeps);
    // One that is new, and then one that is the oldest.
    replay.add(&keys(&["x2"]));
    replay.add(&keys(&["y2"]));
    assert_eq!((replay.len(), replay.dropped()), (3, 0));
    under_way.iter().for_each(|batch| replay.done(batch));
    assert_eq!(drain(&replay), [keys(&["y1", "y2"]), Selector::Prefix("x".into())]);
}

#[test]
fn what_is_added_during_a_replay_stays() {
    let replay = Replay::new(3, Beyond::DropsOldest);
    replay.add(&keys(&["a", "b"]));
    let batches = replay.batches();
    replay.add(&keys(&["a"]));
    batches.iter().for_each(|batch| replay.done(batch));
    assert_eq!(drain(&replay), [keys(&["a"])]);
    // A sweep that covers it may have passed it, and need not begin anew for it.
    replay.add(&Selector::Prefix("x".into()));
    let batches = replay.batches();
    replay.add(&keys(&["x1"]));
    assert_eq!(replay.owed(["x1"]), Owed::Sweep);
    batches.iter().for_each(|batch| replay.done(batch));
    assert_eq!(drain(&replay), [keys(&["x1"])]);
    // But for a prefix.
    replay.add(&Selector::Prefix("x".into()));
    let batches = replay.batches();
    replay.add(&Selector::Prefix("x1".into()));
    batches.iter().for_each(|batch| replay.done(batch));
    assert_eq!(drain(&replay), [Selector::Prefix("x".into())]);
}

#[test]
fn a_sweep_is_not_lost_to_the_keys_that_it_covers() {
    for sweep in [Selector::Prefix("x".into()), Selector::All] {
        let replay = Replay::new(3, Beyond::DropsOldest);
        replay.add(&sweep);
        for key in ["x1", "x2", "y1"] {
            replay.add(&keys(&[key]));
        }
        assert_eq!(replay.dropped(), 0);
        assert_eq!(replay.owed(["x1"]), Owed::Sweep);
        assert_ne!(replay.owed(["y1"]), Owed::Nothing);
        assert!(drain(&replay).contains(&sweep));
        let queue = replay.queue.lock();
        assert!(queue.keys.is_empty() && queue.prefixes.is_empty() && queue.all.is_none());
    }
}

#[test]
fn parts_have_all_keys_and_their_numbers() {
    let replay = Replay::new(10, Beyond::DropsOldest);
    replay.add(&keys(&["a", "b", "c"]));
    let whole = || replay.batches().remove(0);
    let of = |batches: &[Batch]| batches.iter().map(|batch| batch.what.clone()).collect::<Vec<_>>();
    assert_eq!(of(&whole().first_apart()), [keys(&["a"]), keys(&["b", "c"])]);
    let ones = whole().ones();
    assert_eq!(of(&ones), [keys(&["a"]), keys(&["b"]), keys(&["c"])]);
    assert!(whole().is_many() && !ones[0].is_many());
    replay.done(&ones[1]);
    assert_eq!((replay.owed(["b"]), drain(&replay)), (Owed::Nothing, vec![keys(&["a", "c"])]));
}

#[test]
fn what_is_postponed_is_the_youngest_and_no_more() {
    let replay = Replay::new(3, Beyond::DropsOldest);
    for prefix in ["a", "b"] {
        replay.add(&Selector::Prefix(prefix.into()));
    }
    replay.add(&keys(&["a1"]));
    let sweeps = replay.batches_of(Kind::Sweeps);
    replay.postpone(&sweeps[0]);
    // What covers it is tried again: that is no reason to forget it.
    assert_eq!((replay.len(), replay.dropped()), (3, 0));
    let [a, b] = ["a", "b"].map(|prefix| Selector::Prefix(prefix.into()));
    assert_eq!(drain(&replay), [keys(&["a1"]), b, a]);
    // What has been done meanwhile stays so.
    replay.postpone(&sweeps[1]);
    assert_eq!(replay.len(), 0);
    assert!(replay.batches().is_empty());
}
