//! `fill` and `abandon`: only under a lease, and what takes it away.

use std::thread::sleep;

use cache_core::Timestamp;

use crate::fixture::{KEY, LONG, ONE, SHORT, TWO, between, held_for, redis};
use crate::script::{Call, LeaseReply, Purpose};
use crate::wire::{HEADER_LEN, Value, encode};

#[test]
fn a_fill_stores_under_its_lease_and_uses_it_up() {
    let mut r = redis();
    assert_eq!(r.lease(ONE, LONG), LeaseReply::Granted);
    let record = r.record(30_000, 40_000);
    assert!(!r.fill(TWO, &record), "another's lease fills");
    assert!(r.fill(ONE, &record));
    assert_eq!(r.get(), record);
    between(39_000, r.pttl(), 40_000);
    let newer = r.record(50_000, 50_000);
    assert!(!r.fill(ONE, &newer), "a lease fills twice");
    assert_eq!(r.get(), record);
}

#[test]
fn a_record_for_ever_is_filled_without_ttl() {
    let mut r = redis();
    assert_eq!(r.lease(ONE, LONG), LeaseReply::Granted);
    let ever = Timestamp::MAX;
    let value = Value {
        payload: None,
        fresh_until: ever,
        servable_until: ever,
        local_ttl: None,
        lease: None,
    };
    assert!(r.fill(ONE, &encode(&value)));
    assert_eq!(r.pttl(), -1);
}

#[test]
fn a_record_that_is_over_leaves_no_key() {
    let mut r = redis();
    for stale in [false, true] {
        if stale {
            let record = r.record(-1_000, 90_000);
            r.set(&record);
        }
        assert_eq!(r.lease(ONE, LONG), LeaseReply::Granted);
        let over = r.record(-10, 0);
        assert!(r.fill(ONE, &over));
        assert!(!r.exists());
    }
}

/// What takes a lease away, as somebody types it.
const REVOCATIONS: [&str; 6] = [
    "DEL ns:k",
    "UNLINK ns:k",
    "SET ns:k {\"by\":\"hand\"}",
    "APPEND ns:k x",
    "PEXPIRE ns:k 0",
    "FLUSHALL",
];

#[test]
fn p1_06_whatever_is_typed_revokes_the_lease() {
    let mut r = redis();
    for line in REVOCATIONS {
        for stale in [false, true] {
            r.typed::<()>(&format!("DEL {KEY}"));
            if stale {
                let record = r.record(-1_000, 90_000);
                r.set_for(&record, "90000");
            }
            assert_eq!(r.lease(ONE, LONG), LeaseReply::Granted);
            r.typed::<redis::Value>(line);
            let before: Option<Vec<u8>> = r.typed(&format!("GET {KEY}"));
            let record = r.record(60_000, 60_000);
            assert!(!r.fill(ONE, &record), "{line}: filled");
            assert!(!r.abandon(ONE), "{line}: abandoned");
            assert_eq!(r.typed::<Option<Vec<u8>>>(&format!("GET {KEY}")), before, "{line}");
            // Another's lease is not its own.
            r.typed::<()>(&format!("DEL {KEY}"));
            assert_eq!(r.lease(TWO, LONG), LeaseReply::Granted);
            assert!(!r.fill(ONE, &record) && !r.abandon(ONE), "{line}");
            assert!(r.fill(TWO, &record));
        }
    }
}

#[test]
fn a_store_by_another_node_revokes_the_lease() {
    let mut r = redis();
    assert_eq!(r.lease(ONE, LONG), LeaseReply::Granted);
    let (written, loaded) = (r.record(60_000, 60_000), r.record(70_000, 70_000));
    r.set_for(&written, "60000");
    assert!(!r.fill(ONE, &loaded) && !r.abandon(ONE));
    assert_eq!(r.get(), written);
}

#[test]
fn p1_10_a_lease_that_ran_out_fills_nothing() {
    let mut r = redis();
    let record = r.record(-1_000, 90_000);
    r.set_for(&record, "90000");
    assert_eq!(r.lease(ONE, SHORT), LeaseReply::Granted);
    // The server's time cannot be moved.
    sleep(SHORT);
    let newer = r.record(60_000, 60_000);
    assert!(!r.fill(ONE, &newer));
    r.assert_holds(&record);
    assert_eq!(r.lease(TWO, LONG), LeaseReply::Granted);
    assert!(r.fill(TWO, &newer));
}

#[test]
fn an_abandoned_lease_leaves_nothing() {
    let mut r = redis();
    assert!(!r.abandon(ONE));
    assert_eq!(r.lease(ONE, LONG), LeaseReply::Granted);
    assert!(!r.abandon(TWO));
    assert!(r.exists());
    assert!(r.abandon(ONE));
    assert!(!r.exists());
    assert!(!r.abandon(ONE));
}

/// Else its load would not be stored, and another node load meanwhile.
#[test]
fn p3_a_lease_outlives_the_value_that_it_is_on() {
    let mut r = redis();
    for (foreign, given_back) in [(false, false), (false, true), (true, false), (true, true)] {
        let record = r.record(-1_000, 20);
        r.set_for(if foreign { &record[HEADER_LEN..] } else { &record }, "20");
        let purpose = if foreign { Purpose::Adopt(&record) } else { Purpose::Load };
        assert_eq!(r.lease_for(ONE, LONG, purpose), LeaseReply::Granted);
        between(59_000, r.pttl(), 60_001);
        sleep(SHORT);
        between(LONG / 2, held_for(r.lease(TWO, LONG)), LONG);
        if given_back {
            assert!(r.abandon(ONE));
            assert!(!r.exists(), "what is over is left behind");
        } else {
            let newer = r.record(60_000, 60_000);
            assert!(r.fill(ONE, &newer));
            assert_eq!(r.get(), newer);
        }
    }
}

#[test]
fn a_key_that_expired_is_not_brought_back() {
    let mut r = redis();
    let record = r.record(-1_000, 20);
    r.set_for(&record, "20");
    assert_eq!(r.lease(ONE, LONG), LeaseReply::Granted);
    r.typed::<()>(&format!("PEXPIRE {KEY} 20"));
    sleep(SHORT);
    assert!(!r.abandon(ONE));
    let newer = r.record(60_000, 60_000);
    assert!(!r.fill(ONE, &newer));
    assert!(!r.exists());
}

#[test]
fn no_room_is_an_error_and_what_is_there_stays() {
    let mut r = redis();
    let record = r.record(-1_000, 90_000);
    r.set(&record);
    assert_eq!(r.lease(ONE, LONG), LeaseReply::Granted);
    r.typed::<()>("CONFIG SET maxmemory 1");
    let newer = r.record(60_000, 60_000);
    let fill = Call::Fill { key: KEY, id: ONE, record: &newer, notice: None };
    let error = fill.by_source().query::<bool>(&mut r.connection).expect_err("OOM");
    assert!(error.to_string().contains("OOM"), "{error}");
    r.assert_holds(&record);
    r.typed::<()>("CONFIG SET maxmemory 0");
    assert!(r.fill(ONE, &newer));
}

#[test]
fn without_a_mark_no_id_is_a_lease() {
    let mut r = redis();
    let (record, newer) = (r.record(-1_000, 90_000), r.record(60_000, 60_000));
    r.set(&record);
    // What stands where the id would be.
    assert!(!r.fill(0, &newer) && !r.abandon(0));
    assert_eq!(r.get(), record);
}
