//! Bytes, whatever they are, to values.

use std::time::Duration;

use cache_core::Timestamp;
use serde::de::IgnoredAny;

use super::{
    Decoded, HEADER_LEN, LeaseMark, MAGIC, NEVER, NO_BOUND, Reason, TIME_END, VERSION, Value, at,
    checksum, flag, mark,
};

/// What the bytes under a key are.
pub(crate) fn decode(bytes: &[u8]) -> Decoded<'_> {
    if bytes.starts_with(&MAGIC) {
        return record(bytes).unwrap_or_else(Decoded::Unknown);
    }
    if bytes.is_empty() {
        return Decoded::Unknown(Reason::Empty);
    }
    if is_json(bytes) { Decoded::Foreign(bytes) } else { Decoded::Unknown(Reason::NotJson) }
}

/// One whole JSON value. UTF-8 is asked for apart: skipping over a string does not look at it.
fn is_json(bytes: &[u8]) -> bool {
    str::from_utf8(bytes).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok())
}

/// Reads a record of any known version. The version is judged first, as everything behind it may
/// mean something else in another.
fn record(bytes: &[u8]) -> Result<Decoded<'_>, Reason> {
    match bytes.get(at::VERSION) {
        None => Err(Reason::Truncated),
        Some(&VERSION) => version_1(bytes),
        Some(&other) => Err(Reason::Version(other)),
    }
}

fn version_1(bytes: &[u8]) -> Result<Decoded<'_>, Reason> {
    let (header, payload) = bytes.split_first_chunk::<HEADER_LEN>().ok_or(Reason::Truncated)?;
    let flags = header[at::FLAGS];
    if usize::from(header[at::HEADER_LEN]) != HEADER_LEN {
        return Err(Reason::HeaderLength(header[at::HEADER_LEN]));
    }
    if !matches!(flags, 0 | flag::ABSENT | flag::VACANT) {
        return Err(Reason::Flags(flags));
    }
    if header[at::RESERVED] != 0 {
        return Err(Reason::Reserved);
    }
    let stated_len = u32_at::<{ at::PAYLOAD_LEN }>(header);
    if usize::try_from(stated_len) != Ok(payload.len()) || (flags != 0 && stated_len != 0) {
        return Err(Reason::PayloadLength);
    }
    let fresh_until = time(u64_at::<{ at::FRESH_UNTIL }>(header))?;
    let servable_until = time(u64_at::<{ at::SERVABLE_UNTIL }>(header))?;
    if fresh_until > servable_until {
        return Err(Reason::Times);
    }
    if checksum(&header[..at::CHECKSUM], payload) != u32_at::<{ at::CHECKSUM }>(header) {
        return Err(Reason::Checksum);
    }
    let lease = lease(header);
    if flags == flag::VACANT {
        return Ok(Decoded::LeaseOnly(lease));
    }
    let payload = (flags != flag::ABSENT).then_some(payload);
    let local_ttl = local_ttl(u32_at::<{ at::LOCAL_TTL }>(header));
    Ok(Decoded::Value(Value { payload, fresh_until, servable_until, local_ttl, lease }))
}

/// The lease region is taken as it is: it is not covered by the checksum, and whatever it holds
/// must not cost the value.
fn lease(header: &[u8; HEADER_LEN]) -> Option<LeaseMark> {
    let deadline = u64_at::<{ at::LEASE_DEADLINE }>(header);
    let whole = u64_at::<{ at::LEASE_CHECK }>(header) == deadline;
    (header[at::MARKS] & mark::LEASED != 0 && whole).then(|| LeaseMark {
        id: u64_at::<{ at::LEASE_ID }>(header),
        deadline: Timestamp::from_micros(deadline),
    })
}

/// A time as it is written: finite and in range, or never.
fn time(micros: u64) -> Result<Timestamp, Reason> {
    match micros {
        NEVER => Ok(Timestamp::MAX),
        0..TIME_END => Ok(Timestamp::from_micros(micros)),
        TIME_END.. => Err(Reason::Times),
    }
}

fn local_ttl(millis: u32) -> Option<Duration> {
    (millis != NO_BOUND).then(|| Duration::from_millis(millis.into()))
}

fn u64_at<const AT: usize>(header: &[u8; HEADER_LEN]) -> u64 {
    const { assert!(AT + 8 <= HEADER_LEN) };
    u64::from_be_bytes(std::array::from_fn(|i| header[AT + i]))
}

fn u32_at<const AT: usize>(header: &[u8; HEADER_LEN]) -> u32 {
    const { assert!(AT + 4 <= HEADER_LEN) };
    u32::from_be_bytes(std::array::from_fn(|i| header[AT + i]))
}
