//! Who waits for a lease leaves word, and is told when it is over.

use std::thread::sleep;
use std::time::Duration;

use cache_core::Timestamp;

use crate::fixture::{Fixture, KEY, LONG, ONE, SHORT, TWO, held_for, redis};
use crate::script::{Call, LeaseReply, Notice, Purpose};
use crate::wire::{Decoded, Value, decode, encode};

const NOTICE: Notice<'static> = Notice { channel: "channel", message: "told" };
/// Where the header has its marks.
const MARKS: usize = 36;

impl Fixture {
    fn waits(&mut self, id: u64, purpose: Purpose<'_>) -> LeaseReply {
        self.call(Call::Lease { key: KEY, id, ttl: LONG, purpose, waits: true, latest: None })
    }

    fn fill_and_tell(&mut self, id: u64, record: &[u8]) -> bool {
        self.call(Call::Fill { key: KEY, id, record, notice: Some(NOTICE) })
    }

    fn abandon_and_tell(&mut self, id: u64) -> bool {
        self.call(Call::Abandon { key: KEY, id, notice: Some(NOTICE) })
    }

    /// How many messages were published so far.
    fn told(&mut self) -> u64 {
        let stats: String = self.typed("INFO commandstats");
        let calls = stats.split("cmdstat_publish:calls=").nth(1);
        calls.map_or(0, |calls| calls.split(',').next().expect("a count").parse().expect("a count"))
    }

    /// A key with a value that is stale or without one, and a lease on it.
    fn leased(&mut self, stale: bool) {
        self.typed::<()>(&format!("DEL {KEY}"));
        if stale {
            let record = self.record(-1_000, 90_000);
            self.set(&record);
        }
        assert_eq!(self.waits(ONE, Purpose::Load), LeaseReply::Granted);
        assert_eq!(self.get()[MARKS], 1);
    }
}

#[test]
fn who_waits_is_told_once_when_the_lease_is_over() {
    let mut r = redis();
    let mut told = 0;
    for stale in [false, true] {
        for purpose in [Purpose::Load, Purpose::Refresh, Purpose::Repair(b"x")] {
            r.leased(stale);
            let before = r.get();
            held_for(r.waits(TWO, purpose));
            let marked = r.get();
            assert_eq!(marked[MARKS], 3);
            assert_eq!((&marked[..MARKS], &marked[37..]), (&before[..MARKS], &before[37..]));
            held_for(r.waits(TWO, purpose));
            assert_eq!(r.get(), marked, "left word twice");
            let record = r.record(1_000, 1_000);
            assert!(!r.fill_and_tell(TWO, &record) && !r.abandon_and_tell(TWO));
            assert_eq!(r.told(), told, "told by one who has no lease");
            assert!(r.fill_and_tell(ONE, &record));
            told += 1;
            assert_eq!(r.told(), told);
            assert_eq!(r.get(), record);

            r.leased(stale);
            held_for(r.waits(TWO, purpose));
            assert!(r.abandon_and_tell(ONE));
            told += 1;
            assert_eq!(r.told(), told);
            assert_eq!(r.exists(), stale);
        }
    }
    // A value for ever, and one that is over already.
    let ever = Timestamp::MAX;
    let ever = Value {
        payload: None,
        fresh_until: ever,
        servable_until: ever,
        local_ttl: None,
        lease: None,
    };
    for record in [encode(&ever), r.record(-10, 0)] {
        r.leased(false);
        held_for(r.waits(TWO, Purpose::Load));
        assert!(r.fill_and_tell(ONE, &record));
        told += 1;
        assert_eq!(r.told(), told);
    }
}

#[test]
fn nobody_is_told_where_nobody_waits() {
    let mut r = redis();
    for stale in [false, true] {
        let record = r.record(1_000, 1_000);
        r.leased(stale);
        assert!(r.fill_and_tell(ONE, &record));
        r.leased(stale);
        assert!(r.abandon_and_tell(ONE));
        // One who asks without waiting leaves no word.
        r.leased(stale);
        held_for(r.lease(TWO, LONG));
        assert!(r.fill_and_tell(ONE, &record));
        // One who has no bus tells nobody.
        r.leased(stale);
        held_for(r.waits(TWO, Purpose::Load));
        assert!(r.fill(ONE, &record));
    }
    assert_eq!(r.told(), 0);
}

#[test]
fn word_is_left_for_one_lease() {
    let mut r = redis();
    let record = r.record(-1_000, 90_000);
    r.set(&record);
    assert_eq!(r.lease(ONE, SHORT), LeaseReply::Granted);
    held_for(r.waits(TWO, Purpose::Load));
    // The server's time cannot be moved.
    sleep(SHORT + Duration::from_millis(5));
    assert_eq!(r.lease(TWO, LONG), LeaseReply::Granted);
    assert!(r.abandon_and_tell(TWO));
    assert_eq!(r.told(), 0);
    assert_eq!(r.get(), record);
}

#[test]
fn a_server_that_takes_no_writes_still_answers_who_waits() {
    let mut r = redis();
    r.leased(false);
    r.typed::<()>("CONFIG SET maxmemory 1");
    held_for(r.waits(TWO, Purpose::Load));
    assert_eq!(r.get()[MARKS], 1);
    r.typed::<()>("CONFIG SET maxmemory 0");
    held_for(r.waits(TWO, Purpose::Load));
    let bytes = r.get();
    assert_eq!(bytes[MARKS], 3);
    let Decoded::LeaseOnly(Some(mark)) = decode(&bytes) else { unreachable!("{bytes:?}") };
    assert_eq!(mark.id, ONE);
}

#[test]
fn who_may_not_publish_fills_all_the_same() {
    let mut r = redis();
    r.leased(false);
    held_for(r.waits(TWO, Purpose::Load));
    let record = r.record(60_000, 60_000);
    r.typed::<()>("ACL SETUSER default -publish");
    assert!(r.fill_and_tell(ONE, &record));
    assert_eq!(r.get(), record);
}
