//! `lease` on what is sound: granted, held, or answered with the value; and how scripts are called.

use std::thread::sleep;
use std::time::Duration;

use cache_core::Timestamp;
use redis::{ErrorKind, ServerErrorKind};

use crate::fixture::{Fixture, KEY, LONG, ONE, SHORT, TWO, between, held_for, redis};
use crate::script::{Call, LeaseReply, Purpose};
use crate::wire::{self, LeaseMark, Value, encode};

#[test]
fn a_lease_on_an_absent_key_is_a_record_with_a_ttl() {
    let mut r = redis();
    let before = r.now();
    assert_eq!(r.lease(ONE, LONG), LeaseReply::Granted);
    let after = r.now();
    let mark = r.mark().expect("a lease");
    assert_eq!(mark.id, ONE);
    between(before + LONG, mark.deadline, after + LONG);
    assert_eq!(r.get(), wire::encode_lease_only(mark), "Lua and Rust write different bytes");
    between(59_000, r.pttl(), 60_001);
}

#[test]
fn a_lease_is_held_until_it_runs_out() {
    let mut r = redis();
    assert_eq!(r.lease(ONE, LONG), LeaseReply::Granted);
    for id in [TWO, ONE] {
        between(LONG / 2, held_for(r.lease(id, LONG)), LONG);
    }
    assert_eq!(r.mark().expect("a lease").id, ONE);
    r.typed::<()>(&format!("DEL {KEY}"));
    assert_eq!(r.lease(ONE, SHORT), LeaseReply::Granted);
    // The server's time cannot be moved.
    sleep(SHORT + Duration::from_millis(5));
    assert!(!r.exists(), "a lease that ran out stays");
    assert_eq!(r.lease(TWO, LONG), LeaseReply::Granted);
    assert_eq!(r.mark().expect("a lease").id, TWO);
}

#[test]
fn a_lease_that_ran_out_on_a_key_that_stays_is_taken_over() {
    let mut r = redis();
    assert_eq!(r.lease(ONE, SHORT), LeaseReply::Granted);
    r.typed::<()>(&format!("PERSIST {KEY}"));
    sleep(SHORT + Duration::from_millis(5));
    let record = r.record(1_000, 1_000);
    assert!(!r.fill(ONE, &record));
    assert_eq!(r.lease(TWO, LONG), LeaseReply::Granted);
    between(59_000, r.pttl(), 60_001);
    assert!(r.fill(TWO, &record));
}

/// Not a byte of it is covered by the checksum, and it must not keep loaders away for long.
#[test]
fn p6_01_a_damaged_deadline_is_no_lease() {
    let mut r = redis();
    let stale = r.record(-1, 60_000);
    for at in (40..48).chain(56..64) {
        r.set(&stale);
        assert_eq!(r.lease(ONE, LONG), LeaseReply::Granted);
        let mut damaged = r.get();
        damaged[at] ^= 0x20;
        r.set(&damaged);
        assert!(r.mark().is_none(), "byte {at}");
        let record = r.record(1_000, 1_000);
        assert!(!r.fill(ONE, &record), "byte {at}");
        assert_eq!(r.lease(TWO, LONG), LeaseReply::Granted, "byte {at}");
        assert!(r.fill(TWO, &record), "byte {at}");
    }
}

#[test]
fn lease_times_have_bounds() {
    let mut r = redis();
    assert_eq!(r.lease(ONE, Duration::ZERO), LeaseReply::Granted);
    let record = r.record(1_000, 1_000);
    assert!(!r.fill(ONE, &record), "a lease for no time fills");
    assert_eq!(r.lease(TWO, Duration::MAX), LeaseReply::Granted);
    let day = Duration::from_secs(86_400);
    between(day - LONG, held_for(r.lease(ONE, LONG)), day);
    between(86_300_000, r.pttl(), 86_400_001);
    // A mark that claims more is no lease.
    let deadline = r.now() + day + LONG;
    for deadline in [deadline, Timestamp::MAX] {
        r.set(&wire::encode_lease_only(LeaseMark { id: TWO, deadline }));
        assert!(!r.fill(TWO, &record));
        assert_eq!(r.lease(ONE, LONG), LeaseReply::Granted);
    }
}

#[test]
fn a_request_that_comes_late_changes_nothing() {
    let mut r = redis();
    let stale = r.record(-1_000, 60_000);
    let list = |r: &mut Fixture| r.typed::<()>(&format!("RPUSH {KEY} 1"));
    let put: [&dyn Fn(&mut Fixture); 3] = [&|_| {}, &list, &|r| r.set(&stale)];
    for (case, put) in put.into_iter().enumerate() {
        r.typed::<()>(&format!("DEL {KEY}"));
        put(&mut r);
        let before: Option<Vec<u8>> = r.typed(&format!("DUMP {KEY}"));
        let latest = |at| Call::Lease {
            key: KEY,
            id: ONE,
            ttl: LONG,
            purpose: Purpose::Load,
            waits: false,
            latest: Some(at),
        };
        let now = r.now();
        assert_eq!(r.call::<LeaseReply>(latest(now - SHORT)), LeaseReply::Late, "{case}");
        assert_eq!(r.typed::<Option<Vec<u8>>>(&format!("DUMP {KEY}")), before, "{case}");
        assert_eq!(r.call::<LeaseReply>(latest(now + LONG)), LeaseReply::Granted, "{case}");
    }
}

#[test]
fn a_fresh_value_is_answered_unless_it_is_to_be_refreshed() {
    let mut r = redis();
    let record = r.record(60_000, 90_000);
    r.set_for(&record, "90000");
    let present = LeaseReply::Present { bytes: record.clone(), ttl: None };
    assert_eq!(r.lease(ONE, LONG), present);
    assert_eq!(r.get(), record);
    assert_eq!(r.lease_for(ONE, LONG, Purpose::Refresh), LeaseReply::Granted);
    r.assert_holds(&record);
    between(LONG / 2, held_for(r.lease_for(TWO, LONG, Purpose::Refresh)), LONG);
    let newer = r.record(80_000, 80_000);
    assert!(r.fill(ONE, &newer));
    assert_eq!(r.get(), newer);
}

#[test]
fn a_stale_value_is_marked_in_place_and_keeps_its_ttl() {
    let mut r = redis();
    let record = r.record(-1_000, 90_000);
    for millis in [Some("90000"), None] {
        match millis {
            Some(millis) => r.set_for(&record, millis),
            None => r.set(&record),
        }
        let least = if millis.is_some() { 88_000 } else { -1 };
        for id in [ONE, TWO] {
            assert_eq!(r.lease(id, LONG), LeaseReply::Granted);
            assert_eq!(r.mark().expect("a lease").id, id);
            r.assert_holds(&record);
            between(least, r.pttl(), if millis.is_some() { 90_000 } else { -1 });
            assert!(r.abandon(id));
            assert_eq!(r.get(), record, "abandoning leaves something behind");
            between(least, r.pttl(), if millis.is_some() { 90_000 } else { -1 });
            assert!(!r.abandon(id));
        }
    }
}

#[test]
fn an_absent_value_is_a_value() {
    let mut r = redis();
    let fresh_until = r.now() + LONG;
    let absent = encode(&Value {
        payload: None,
        fresh_until,
        servable_until: fresh_until,
        local_ttl: None,
        lease: None,
    });
    r.set(&absent);
    let present = LeaseReply::Present { bytes: absent.clone(), ttl: None };
    assert_eq!(r.lease(ONE, LONG), present);
    assert_eq!(r.lease_for(ONE, LONG, Purpose::Refresh), LeaseReply::Granted);
    r.assert_holds(&absent);
}

#[test]
fn a_value_for_ever_is_fresh() {
    let mut r = redis();
    let ever = Timestamp::MAX;
    let record = encode(&Value {
        payload: Some(b"1"),
        fresh_until: ever,
        servable_until: ever,
        local_ttl: None,
        lease: None,
    });
    r.set(&record);
    assert_eq!(r.lease(ONE, LONG), LeaseReply::Present { bytes: record, ttl: None });
}

#[test]
fn a_script_that_is_not_loaded_says_so_and_does_nothing() {
    let mut r = redis();
    let (purpose, waits, latest) = (Purpose::Load, false, None);
    let call = Call::Lease { key: KEY, id: ONE, ttl: LONG, purpose, waits, latest };
    let refused = call.by_hash().query::<LeaseReply>(&mut r.connection).expect_err("NOSCRIPT");
    assert_eq!(refused.kind(), ErrorKind::Server(ServerErrorKind::NoScript));
    assert!(!r.exists());
    assert_eq!(r.call::<LeaseReply>(call), LeaseReply::Granted);
    r.typed::<()>(&format!("DEL {KEY}"));
    let by_hash = call.by_hash().query::<LeaseReply>(&mut r.connection).expect("known by now");
    assert_eq!(by_hash, LeaseReply::Granted);
    r.typed::<()>("SCRIPT FLUSH");
    let call = Call::Abandon { key: KEY, id: ONE, notice: None };
    call.by_hash().query::<bool>(&mut r.connection).expect_err("NOSCRIPT");
    assert!(r.call::<bool>(call));
}

#[test]
fn only_the_header_goes_through_the_script() {
    let mut r = redis();
    let payload = vec![b' '; 8 << 20];
    let now = r.now();
    let (fresh_until, servable_until) = (now, now + LONG);
    let stale = Value {
        payload: Some(&payload),
        fresh_until,
        servable_until,
        local_ttl: None,
        lease: None,
    };
    r.set(&encode(&stale));
    r.typed::<()>("CONFIG RESETSTAT");
    assert_eq!(r.lease(ONE, LONG), LeaseReply::Granted);
    assert!(r.abandon(ONE));
    let stats: String = r.typed("INFO commandstats");
    for used in ["getrange:calls=2", "setrange:calls=2", "strlen:calls=2"] {
        assert!(stats.contains(used), "{used} is not in {stats}");
    }
    assert!(!stats.contains("cmdstat_get:"), "{stats}");
}
