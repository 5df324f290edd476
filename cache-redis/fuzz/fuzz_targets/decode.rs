//! P6 03: any bytes decode without a panic, and what is served is what was written.
//!
//! From `cache-redis`, with a nightly compiler and cargo-fuzz:
//! `mkdir -p fuzz/corpus/decode`
//! `cargo +nightly fuzz run decode fuzz/corpus/decode tests/golden/v1 -- -max_len=512`

#![no_main]
#![allow(dead_code, unused_imports)]

use libfuzzer_sys::fuzz_target;

#[path = "../../src/wire/mod.rs"]
mod wire;

use wire::{Decoded, HEADER_LEN, Value, decode, encode};

/// Where the header ends that the checksum covers, and the checksum.
const COVERED: usize = 32;

fn check(bytes: &[u8]) {
    match decode(bytes) {
        // The value's part of the record has one form only.
        Decoded::Value(value) => {
            let again = encode(&value);
            assert_eq!(again[..COVERED + 4], bytes[..COVERED + 4]);
            assert_eq!(again[HEADER_LEN..], bytes[HEADER_LEN..]);
            assert!(value.fresh_until <= value.servable_until);
        }
        Decoded::LeaseOnly(_) => assert_eq!(bytes.len(), HEADER_LEN),
        Decoded::Foreign(json) => assert!(json == bytes && str::from_utf8(json).is_ok()),
        Decoded::Unknown(_) => {}
    }
}

fuzz_target!(|bytes: &[u8]| {
    check(bytes);
    // The same with a checksum that fits, so that the checks behind it are reached.
    if bytes.len() >= HEADER_LEN {
        let mut mended = bytes.to_vec();
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&mended[..COVERED]);
        hasher.update(&mended[HEADER_LEN..]);
        mended[COVERED..COVERED + 4].copy_from_slice(&hasher.finalize().to_be_bytes());
        check(&mended);
    }
});
