//! `lease` on what is not ours or not sound: foreign JSON is answered, the rest makes room.

use std::time::Duration;

use crate::fixture::{KEY, LONG, ONE, TWO, between, held_for, redis};
use crate::script::{LeaseReply, Purpose};
use crate::wire::{Decoded, HEADER_LEN, Reason, decode};

#[test]
fn a_value_that_nobody_may_serve_makes_room() {
    let mut r = redis();
    let record = r.record(-2_000, -1_000);
    r.set(&record);
    assert_eq!(r.lease(ONE, LONG), LeaseReply::Granted);
    assert!(matches!(decode(&r.get()), Decoded::LeaseOnly(Some(_))));
    between(59_000, r.pttl(), 60_001);
}

#[test]
fn foreign_json_is_answered_with_its_ttl() {
    let mut r = redis();
    for json in ["{\"a\":1}", " [1]", "\"x\"", "-1", "7", "true", "false", "null"] {
        r.set(json.as_bytes());
        let present = LeaseReply::Present { bytes: json.into(), ttl: None };
        for purpose in [Purpose::Load, Purpose::Refresh] {
            assert_eq!(r.lease_for(ONE, LONG, purpose), present);
        }
        r.set_for(json.as_bytes(), "50000");
        let LeaseReply::Present { bytes, ttl: Some(ttl) } = r.lease(ONE, LONG) else {
            unreachable!("no value or no TTL");
        };
        assert_eq!(bytes, json.as_bytes());
        between(Duration::from_secs(49), ttl, Duration::from_secs(50));
        assert_eq!(r.get(), json.as_bytes());
        let record = r.record(1_000, 1_000);
        assert!(!r.fill(ONE, &record) && !r.abandon(ONE));
        assert_eq!(r.get(), json.as_bytes());
    }
}

#[test]
fn garbage_makes_room_for_the_lease() {
    let mut r = redis();
    let good = r.record(60_000, 60_000);
    let spoilt = |position: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[position] = byte;
        bytes
    };
    let mut all = vec![b"hello".to_vec(), b"\x89RC".to_vec(), vec![0; 100], Vec::new()];
    all.extend([spoilt(4, 2), spoilt(5, 56), spoilt(6, 4), spoilt(6, 1), spoilt(7, 1)]);
    // Fresh for longer than servable, a time out of range, a length that is not the payload's.
    all.extend([spoilt(10, 0xF0), spoilt(16, 0x7F), spoilt(24, 0xFF), spoilt(27, 0)]);
    all.extend([good[..HEADER_LEN - 1].to_vec(), good[..HEADER_LEN].to_vec()]);
    all.push([&good[..], b"x"].concat());
    for garbage in all {
        r.set(&garbage);
        let record = r.record(1_000, 1_000);
        assert!(!r.fill(0, &record) && !r.abandon(0));
        assert_eq!(r.get(), garbage, "a refused call changed the key");
        assert_eq!(r.lease(ONE, LONG), LeaseReply::Granted, "{garbage:?}");
        assert!(matches!(decode(&r.get()), Decoded::LeaseOnly(Some(_))));
        assert!(r.fill(ONE, &record));
    }
}

#[test]
fn p6_05_another_type_makes_room_for_the_lease() {
    let mut r = redis();
    for line in ["RPUSH ns:k a", "SADD ns:k a", "HSET ns:k a b", "ZADD ns:k 1 a", "XADD ns:k * a b"]
    {
        r.typed::<redis::Value>(line);
        let record = r.record(1_000, 1_000);
        assert!(!r.fill(ONE, &record) && !r.abandon(ONE));
        assert!(r.exists(), "{line}: a refused call removed it");
        assert_eq!(r.lease(ONE, LONG), LeaseReply::Granted, "{line}");
        between(59_000, r.pttl(), 60_001);
        assert!(r.fill(ONE, &record));
        assert_eq!(r.get(), record);
        r.typed::<()>(&format!("DEL {KEY}"));
    }
    let stats: String = r.typed("INFO commandstats");
    assert!(stats.contains("cmdstat_unlink:calls=5"), "freed here and now: {stats}");
}

#[test]
fn what_does_not_decode_makes_room_when_it_is_shown() {
    let mut r = redis();
    let mut broken = r.record(60_000, 60_000);
    broken[HEADER_LEN] = b'[';
    assert_eq!(decode(&broken), Decoded::Unknown(Reason::Checksum));
    for found in [&broken[..], b"{\"a\":", b"7x"] {
        r.set(found);
        let LeaseReply::Present { bytes, .. } = r.lease(ONE, LONG) else {
            unreachable!("its header is sound");
        };
        assert!(matches!(decode(&bytes), Decoded::Unknown(_)));
        assert_eq!(r.lease_for(ONE, LONG, Purpose::Repair(&bytes)), LeaseReply::Granted);
        assert!(matches!(decode(&r.get()), Decoded::LeaseOnly(Some(_))));
        // Another who saw it too waits.
        held_for(r.lease_for(TWO, LONG, Purpose::Repair(&bytes)));
        let record = r.record(60_000, 60_000);
        assert!(r.fill(ONE, &record));
        // And one who comes late gets what it was repaired to.
        let present = LeaseReply::Present { bytes: record, ttl: None };
        assert_eq!(r.lease_for(TWO, LONG, Purpose::Repair(&bytes)), present);
    }
    r.set(b"{\"a\":1}");
    for seen in [&b""[..], b"{\"a\":"] {
        let reply = r.lease_for(TWO, LONG, Purpose::Repair(seen));
        assert_eq!(reply, LeaseReply::Present { bytes: b"{\"a\":1}".to_vec(), ttl: None });
    }
}
