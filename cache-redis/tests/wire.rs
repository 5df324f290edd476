//! P6: whatever the bytes are, decoding them gives the value that was written or none at all.

#![allow(
    dead_code,
    unused_imports,
    clippy::expect_used,
    reason = "included source; test code, also outside of test functions"
)]

use std::path::PathBuf;
use std::time::Duration;

use cache_core::{Entry, Policy, Timestamp};

#[path = "../src/wire/mod.rs"]
mod wire;

use wire::{
    ClockOffset, Decoded, Expiry, HEADER_LEN, LeaseMark, Reason, Value, decode, encode,
    encode_entry, encode_lease_only, foreign_entry,
};

/// The part of the header that is written in place.
const LEASE_REGION: std::ops::Range<usize> = 36..HEADER_LEN;
/// Some time in 2026.
const NOW: u64 = 1_767_225_600_000_000;

/// How long a process may hold it.
const LOCAL: Duration = Duration::from_millis(5_000);

fn at(micros: u64) -> Timestamp {
    Timestamp::from_micros(micros)
}

fn mark() -> LeaseMark {
    LeaseMark { id: 0x0102_0304_0506_0708, deadline: at(NOW + 30_000_000) }
}

fn value(payload: Option<&[u8]>) -> Value<'_> {
    let (fresh_until, servable_until) = (at(NOW + 60_000_000), at(NOW + 90_000_000));
    Value { payload, fresh_until, servable_until, local_ttl: None, lease: None }
}

/// One record of every kind, by the name of its golden file.
fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let json = "{\"id\":7,\"name\":\"Ærø\",\"tags\":[\"a\",null,1.5]}".as_bytes();
    let forever =
        Value { fresh_until: Timestamp::MAX, servable_until: Timestamp::MAX, ..value(Some(b"42")) };
    vec![
        ("value", encode(&value(Some(json)))),
        ("value-leased", encode(&Value { lease: Some(mark()), ..value(Some(json)) })),
        ("value-for-ever", encode(&forever)),
        ("value-local", encode(&Value { local_ttl: Some(LOCAL), ..value(Some(json)) })),
        ("value-empty", encode(&value(Some(b"")))),
        ("absent", encode(&value(None))),
        ("absent-leased", encode(&Value { lease: Some(mark()), ..value(None) })),
        ("lease-only", encode_lease_only(mark())),
    ]
}

/// What `bytes` decode to, with the lease left out.
fn without_lease(bytes: &[u8]) -> Decoded<'_> {
    match decode(bytes) {
        Decoded::Value(value) => Decoded::Value(Value { lease: None, ..value }),
        Decoded::LeaseOnly(_) => Decoded::LeaseOnly(None),
        other => other,
    }
}

#[test]
fn records_come_back_as_they_were_written() {
    for payload in [None, Some(&b"{\"a\":1}"[..]), Some(b""), Some(&[0xFF; 1000])] {
        for lease in [None, Some(mark()), Some(LeaseMark { id: 0, deadline: at(0) })] {
            let value = Value { lease, ..value(payload) };
            assert_eq!(decode(&encode(&value)), Decoded::Value(value));
        }
    }
    assert_eq!(decode(&encode_lease_only(mark())), Decoded::LeaseOnly(Some(mark())));
}

#[test]
fn random_records_come_back_as_they_were_written() {
    let mut random = fastrand::Rng::with_seed(1);
    for _ in 0..100_000 {
        let payload: Vec<u8> = (0..random.usize(..300)).map(|_| random.u8(..)).collect();
        let mut time = || {
            let exponent = random.u32(0..=53);
            if exponent == 53 { Timestamp::MAX } else { at(random.u64(0..(2 << exponent))) }
        };
        let (one, other) = (time(), time());
        let value = Value {
            payload: random.bool().then_some(&payload),
            fresh_until: one.min(other),
            servable_until: one.max(other),
            local_ttl: random
                .bool()
                .then(|| Duration::from_millis(random.u64(1..u64::from(u32::MAX)))),
            lease: random
                .bool()
                .then(|| LeaseMark { id: random.u64(..), deadline: at(random.u64(0..(1 << 53))) }),
        };
        assert_eq!(decode(&encode(&value)), Decoded::Value(value));
    }
}

#[test]
fn the_payload_stands_behind_the_header_as_it_is() {
    assert_eq!(&encode(&value(Some(b"{\"a\":1}")))[HEADER_LEN..], b"{\"a\":1}");
    assert_eq!(usize::from(encode(&value(None))[5]), HEADER_LEN);
}

/// What `FORMAT.md` shows.
#[test]
fn the_example_of_the_format_is_written_so() {
    let hex = "8952431a014000000006474849b3c700000647484b7d8a8000000008ffffffffb21d829b".to_owned()
        + &"0".repeat(56)
        + "7b226964223a377d";
    let record = encode(&value(Some(b"{\"id\":7}")));
    assert_eq!(record.iter().map(|byte| format!("{byte:02x}")).collect::<String>(), hex);
}

#[test]
fn times_out_of_range_count_as_never() {
    for (given, read) in [((1 << 53) - 1, (1 << 53) - 1), (1 << 53, u64::MAX), (u64::MAX, u64::MAX)]
    {
        let value = Value { fresh_until: at(0), servable_until: at(given), ..value(None) };
        let read = Value { servable_until: at(read), ..value };
        assert_eq!(decode(&encode(&value)), Decoded::Value(read));
    }
    let backwards = Value { fresh_until: at(9), servable_until: at(5), ..value(None) };
    let mended = Value { servable_until: at(9), ..backwards };
    assert_eq!(decode(&encode(&backwards)), Decoded::Value(mended));
}

#[test]
fn a_local_ttl_is_rounded_down_and_kept() {
    let (max, ms) = (u64::from(u32::MAX), Duration::from_millis);
    for (given, read) in [
        (None, None),
        (Some(Duration::ZERO), Some(ms(0))),
        (Some(Duration::from_micros(1_999)), Some(ms(1))),
        (Some(ms(2)), Some(ms(2))),
        (Some(ms(max - 1)), Some(ms(max - 1))),
        (Some(ms(max)), Some(ms(max - 1))),
        (Some(Duration::MAX), Some(ms(max - 1))),
    ] {
        let value = Value { local_ttl: given, ..value(Some(b"1")) };
        let read = Value { local_ttl: read, ..value };
        assert_eq!(decode(&encode(&value)), Decoded::Value(read));
    }
}

#[test]
fn local_ttl_goes_through_redis_and_bounds_the_near_tier() {
    let policy = Policy::ttl(Duration::from_secs(60))
        .stale_for(Duration::from_secs(9))
        .negative_ttl(Duration::from_secs(60))
        .local_ttl(LOCAL);
    let offset = ClockOffset::ahead(7_000_000);
    for entry in [Entry::encode("acme", &policy).expect("JSON"), Entry::absent(&policy)] {
        let record = encode_entry(&entry.settle(at(NOW), Duration::MAX), offset);
        let Decoded::Value(value) = decode(&record) else { unreachable!("{record:?}") };
        let later = at(NOW + 20_000_000);
        let read = value.to_entry(offset, later);
        assert_eq!((read.fresh_until(), read.local_ttl()), (at(NOW + 60_000_000), Some(LOCAL)));
        let stale_for = read.fresh_until().until(read.servable_until());
        let near = read.settle_local(later, Duration::MAX);
        assert_eq!(near.fresh_until(), later + LOCAL);
        assert_eq!(near.servable_until(), later + LOCAL + stale_for);
    }
}

#[test]
fn p6_01_a_flipped_byte_never_makes_another_value() {
    for (name, good) in samples() {
        for position in 0..good.len() {
            for flip in 1..=u8::MAX {
                let mut bad = good.clone();
                bad[position] ^= flip;
                if LEASE_REGION.contains(&position) {
                    assert_eq!(without_lease(&bad), without_lease(&good), "{name} at {position}");
                } else {
                    let Decoded::Unknown(_) = decode(&bad) else {
                        unreachable!("{name} at {position} ^ {flip:#x}: {:?}", decode(&bad));
                    };
                }
            }
        }
    }
}

#[test]
fn p6_02_a_truncated_or_longer_record_is_unknown() {
    for (name, good) in samples() {
        for len in 0..good.len() {
            let Decoded::Unknown(_) = decode(&good[..len]) else {
                unreachable!("{name} cut to {len}: {:?}", decode(&good[..len]));
            };
        }
        for more in [&b"\0"[..], b" ", b"{}", &good] {
            let long = [&good, more].concat();
            assert_eq!(decode(&long), Decoded::Unknown(Reason::PayloadLength), "{name}");
        }
    }
}

#[test]
fn p6_03_random_bytes_never_make_a_value() {
    let mut random = fastrand::Rng::with_seed(3);
    let samples = samples();
    let mut bytes = Vec::new();
    for round in 0..1_000_000 {
        bytes.clear();
        let good = &samples[round % samples.len()].1;
        match round % 4 {
            // Noise.
            0 => bytes.extend((0..random.usize(..200)).map(|_| random.u8(..))),
            // Noise behind a magic, with and without the right version and length.
            1 => {
                bytes.extend_from_slice(&good[..random.usize(4..9)]);
                bytes.extend((0..random.usize(..200)).map(|_| random.u8(..)));
            }
            // A good record with some bytes changed.
            2 => {
                bytes.extend_from_slice(good);
                for _ in 0..random.usize(1..9) {
                    let position = random.usize(..bytes.len());
                    bytes[position] = random.u8(..);
                }
            }
            // Two halves that do not belong together.
            _ => {
                let other = &random.choice(&samples).expect("there are some").1;
                bytes.extend_from_slice(&good[..random.usize(..good.len())]);
                bytes.extend_from_slice(&other[random.usize(..other.len())..]);
            }
        }
        match decode(&bytes) {
            Decoded::Unknown(_) => {}
            Decoded::Foreign(json) => assert!(is_json(json), "{json:?}"),
            // The checksum holds: what is served is one of the values that were written.
            other => assert!(
                samples.iter().any(|(_, good)| without_lease(good) == without_lease(&bytes)),
                "{other:?}"
            ),
        }
    }
}

fn is_json(bytes: &[u8]) -> bool {
    serde_json::from_slice::<serde_json::Value>(bytes).is_ok()
}

#[test]
fn p6_04_foreign_json_is_read_and_nothing_else() {
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    for json in ["{\"a\":[1,2]}", " 7\n", "\"Ærø\"", "null", "[]", "-1.5e3", &deep] {
        assert_eq!(decode(json.as_bytes()), Decoded::Foreign(json.as_bytes()));
    }
    let endless = "[".repeat(1_000_000);
    for other in ["{\"a\":", "hello", "{} {}", "7x", "NaN", "'a'", " ", "\u{feff}{}", &endless] {
        assert_eq!(decode(other.as_bytes()), Decoded::Unknown(Reason::NotJson), "{other:.20}");
    }
    for other in [&b"\"\xFF\""[..], b"\x1A", b"\x89", b"\x89RC", b"\0\0\0\0", b"\"a\0\""] {
        assert_eq!(decode(other), Decoded::Unknown(Reason::NotJson), "{other:?}");
    }
    assert_eq!(decode(b""), Decoded::Unknown(Reason::Empty));
}

#[test]
fn what_is_wrong_is_named() {
    let spoilt = |position: usize, bytes: &[u8]| {
        let mut record = encode(&value(Some(b"[1,2,3]")));
        record[position..position + bytes.len()].copy_from_slice(bytes);
        match decode(&record) {
            Decoded::Unknown(reason) => reason,
            other => unreachable!("{other:?}"),
        }
    };
    assert_eq!(spoilt(4, &[2]), Reason::Version(2));
    assert_eq!(spoilt(5, &[56]), Reason::HeaderLength(56));
    // Compressed and encrypted are for later versions of this code.
    assert_eq!(spoilt(6, &[4]), Reason::Flags(4));
    assert_eq!(spoilt(6, &[8]), Reason::Flags(8));
    assert_eq!(spoilt(6, &[3]), Reason::Flags(3));
    assert_eq!(spoilt(6, &[1]), Reason::PayloadLength);
    assert_eq!(spoilt(7, &[1]), Reason::Reserved);
    assert_eq!(spoilt(8, &[0xFF; 8]), Reason::Times);
    assert_eq!(spoilt(16, &[0x7F; 8]), Reason::Times);
    assert_eq!(spoilt(24, &[0xFF; 4]), Reason::PayloadLength);
    assert_eq!(spoilt(28, &[0; 4]), Reason::Checksum);
    assert_eq!(spoilt(32, &[0; 4]), Reason::Checksum);
    assert_eq!(spoilt(HEADER_LEN, b"{"), Reason::Checksum);
}

/// As the fuzz target has it: a checksum that fits lets through only what would be written so.
#[test]
fn what_decodes_has_one_form() {
    let mut random = fastrand::Rng::with_seed(4);
    let samples = samples();
    let mut values = 0;
    for round in 0..300_000 {
        let mut bytes = samples[round % samples.len()].1.clone();
        for _ in 0..random.usize(1..4) {
            let position = random.usize(..32);
            let any = random.u8(..);
            bytes[position] = random.choice([0, 1, 0xFF, any]).expect("one of four");
        }
        if random.bool() {
            bytes[28..32].fill(random.choice([0, 0xFF]).expect("one of two"));
        }
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&bytes[..32]);
        hasher.update(&bytes[HEADER_LEN..]);
        bytes[32..36].copy_from_slice(&hasher.finalize().to_be_bytes());
        if let Decoded::Value(value) = decode(&bytes) {
            let again = encode(&value);
            assert_eq!(again[..36], bytes[..36]);
            assert_eq!(again[HEADER_LEN..], bytes[HEADER_LEN..]);
            values += 1;
        }
    }
    assert!(values > 10_000, "{values}");
}

#[test]
fn p6_06_every_released_version_still_decodes() {
    for (name, written) in samples() {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1").join(name);
        let golden = std::fs::read(path.with_extension("bin")).expect("a golden file");
        assert_eq!(decode(&golden), decode(&written), "{name} is read otherwise");
        assert_eq!(golden, written, "{name} is written otherwise: that is another version");
    }
}

/// Only for a new version's first day: `cargo test --test wire -- --ignored write_golden`.
#[test]
#[ignore = "writes the golden files"]
fn write_golden_files_that_are_not_there() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1");
    std::fs::create_dir_all(&folder).expect("a folder");
    for (name, record) in samples() {
        let path = folder.join(name).with_extension("bin");
        if !path.exists() {
            std::fs::write(path, record).expect("a golden file");
        }
    }
}

#[test]
fn an_entry_survives_clocks_that_disagree() {
    let local = at(NOW);
    for server in [at(NOW + 5_000_000), at(NOW - 5_000_000), local] {
        let offset = ClockOffset::ahead(server.as_micros() as i64 - local.as_micros() as i64);
        assert_eq!((offset.to_server(local), offset.to_local(server)), (server, local));
        assert_eq!(offset.to_server(Timestamp::MAX), Timestamp::MAX);
        assert_eq!(offset.to_local(Timestamp::MAX), Timestamp::MAX);
        let policy = Policy::ttl(Duration::from_secs(60)).stale_for(Duration::from_secs(5));
        let entry = Entry::encode("acme", &policy).expect("JSON").settle(local, Duration::MAX);
        let record = encode_entry(&entry, offset);
        let Decoded::Value(value) = decode(&record) else { unreachable!("{record:?}") };
        assert_eq!(value.fresh_until, server + Duration::from_secs(60));
        let read = value.to_entry(offset, local);
        assert_eq!(read.bytes(), entry.bytes());
        assert_eq!(read.fresh_until(), entry.fresh_until());
        assert_eq!(read.servable_until(), entry.servable_until());
    }
}

#[test]
fn absent_and_everlasting_entries_survive() {
    let policy = Policy::ttl(Duration::MAX).negative_ttl(Duration::MAX);
    let absent = Entry::absent(&policy).settle(at(NOW), Duration::MAX);
    let record = encode_entry(&absent, ClockOffset::ahead(-(NOW as i64)));
    let Decoded::Value(value) = decode(&record) else { unreachable!("{record:?}") };
    assert!(value.to_entry(ClockOffset::default(), at(NOW)).is_absent());
    let entry = Entry::encode(&7, &policy).expect("JSON").settle(at(NOW), Duration::MAX);
    let record = encode_entry(&entry, ClockOffset::ahead(NOW as i64));
    let Decoded::Value(value) = decode(&record) else { unreachable!("{record:?}") };
    assert_eq!(value.servable_until, Timestamp::MAX);
}

#[test]
fn foreign_json_lives_as_its_key() {
    let entry = foreign_entry(b"[1]", Some(Duration::from_millis(5)), at(NOW));
    assert_eq!((entry.fresh_until(), entry.servable_until()), (at(NOW + 5_000), at(NOW + 5_000)));
    assert_eq!(entry.decode::<Vec<u8>>().expect("JSON"), [1]);
    assert_eq!(foreign_entry(b"1", None, at(NOW)).servable_until(), Timestamp::MAX);
}

#[test]
fn a_key_lives_until_its_record_is_servable_no_more() {
    for (left, expiry) in [(0, Expiry::Past), (1, Expiry::After(1)), (1_000, Expiry::After(1))] {
        assert_eq!(Expiry::of(at(NOW + left), at(NOW)), expiry);
    }
    assert_eq!(Expiry::of(at(NOW + 1_001), at(NOW)), Expiry::After(2));
    assert_eq!(Expiry::of(at(NOW - 1), at(NOW)), Expiry::Past);
    assert_eq!(Expiry::of(Timestamp::MAX, at(NOW)), Expiry::Never);
    assert_eq!(Expiry::of(at(1 << 53), at(NOW)), Expiry::Never);
}
