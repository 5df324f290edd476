//! The bytes under a key: a header of [`HEADER_LEN`] bytes, then the payload. `FORMAT.md` is the
//! specification; this module is its Rust half, `script` the Lua half.
//!
//! Rules:
//!
//! 1. [`decode()`] takes any bytes. It never panics and never allocates by a length it has read.
//! 2. The checksum covers everything a reader serves: the value and its lifetimes. What it covers
//!    is never written in place.
//! 3. The lease region is the only part that is written in place, and no content of it makes a
//!    value unreadable or another one.

use std::time::Duration;

use cache_core::Timestamp;

mod convert;
mod decode;
mod encode;

pub(crate) use convert::{ClockOffset, Expiry, encode_entry, foreign_entry};
pub(crate) use decode::decode;
pub(crate) use encode::encode;
#[cfg(test)]
#[allow(unused_imports, reason = "for the tests in `tests/`, which include this file")]
pub(crate) use encode::encode_lease_only;

/// The length of a version 1 header: the payload begins here.
pub(crate) const HEADER_LEN: usize = 64;
/// How a record begins. The first byte is no UTF-8, the last a control character: neither may stand
/// anywhere in JSON, so a record with one byte of its magic spoilt is not taken for JSON either.
pub(crate) const MAGIC: [u8; 4] = [0x89, b'R', b'C', 0x1A];
/// The version this module writes, and so far the only one it reads.
pub(crate) const VERSION: u8 = 1;
/// A deadline that is never reached, as it is written.
const NEVER: u64 = u64::MAX;
/// Finite times lie below this, so that Lua's numbers (doubles) hold them exactly: the year 2255.
const TIME_END: u64 = 1 << 53;
/// No bound on how long a process may hold the value.
const NO_BOUND: u32 = u32::MAX;

/// Where each field begins. All numbers are big-endian.
mod at {
    pub(super) const VERSION: usize = 4;
    pub(super) const HEADER_LEN: usize = 5;
    pub(super) const FLAGS: usize = 6;
    pub(super) const RESERVED: usize = 7;
    pub(super) const FRESH_UNTIL: usize = 8;
    pub(super) const SERVABLE_UNTIL: usize = 16;
    pub(super) const PAYLOAD_LEN: usize = 24;
    pub(super) const LOCAL_TTL: usize = 28;
    pub(super) const CHECKSUM: usize = 32;
    pub(super) const MARKS: usize = 36;
    pub(super) const LEASE_CHECK: usize = 40;
    pub(super) const LEASE_ID: usize = 48;
    pub(super) const LEASE_DEADLINE: usize = 56;
}

/// Bits of the flags byte. One that is not here makes a record unknown.
mod flag {
    /// The value is known to be absent; no payload.
    pub(super) const ABSENT: u8 = 1;
    /// There is no value, only a lease; no payload.
    pub(super) const VACANT: u8 = 2;
}

/// Bits of the marks byte, in the lease region. Others are ignored.
mod mark {
    /// A lease is pending.
    pub(super) const LEASED: u8 = 1;
}

/// A value and how long it lives. Times are the server's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Value<'a> {
    /// The encoded value; `None`: known to be absent.
    pub(crate) payload: Option<&'a [u8]>,
    /// When its freshness ends.
    pub(crate) fresh_until: Timestamp,
    /// When it may no longer be served even stale. Never before `fresh_until`.
    pub(crate) servable_until: Timestamp,
    /// How long a process may hold it in memory, in whole milliseconds; `None`: no bound.
    pub(crate) local_ttl: Option<Duration>,
    /// The lease on it, run out or not.
    pub(crate) lease: Option<LeaseMark>,
}

/// A lease as a header holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LeaseMark {
    /// What tells it from every other lease.
    pub(crate) id: u64,
    /// When it runs out, by the server's clock.
    pub(crate) deadline: Timestamp,
}

/// What stands under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decoded<'a> {
    /// A value, or the knowledge that there is none.
    Value(Value<'a>),
    /// A lease on a key that has no value: a miss.
    LeaseOnly(Option<LeaseMark>),
    /// Plain JSON that someone else has written. It lives as long as the key.
    Foreign(&'a [u8]),
    /// Nothing this version can use: a miss, to be counted and repaired.
    Unknown(Reason),
}

/// Why bytes are no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Reason {
    /// No byte at all.
    Empty,
    /// No header, and no valid JSON either.
    NotJson,
    /// The header is cut short.
    Truncated,
    /// Another version of the format.
    Version(u8),
    /// The header's length is not that of its version.
    HeaderLength(u8),
    /// Flags that are unknown or contradict each other.
    Flags(u8),
    /// A byte that must be zero is not.
    Reserved,
    /// The payload is longer or shorter than the header says.
    PayloadLength,
    /// A time out of range, or freshness that ends after servability.
    Times,
    /// The checksum does not fit the bytes.
    Checksum,
}

/// Over the header up to the checksum itself, then the payload.
fn checksum(covered: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(covered);
    hasher.update(payload);
    hasher.finalize()
}
