//! Values to bytes.

use std::time::Duration;

use cache_core::Timestamp;

use super::{
    HEADER_LEN, LeaseMark, MAGIC, NEVER, NO_BOUND, TIME_END, VERSION, Value, at, checksum, flag,
    mark,
};

/// A value as it is stored.
///
/// A time that is out of range counts as never, and servability that would end before freshness
/// ends with it. A local TTL is rounded down, to 1 ms at least and some 49 days at most: the bound is
/// kept, if not used up.
pub(crate) fn encode(value: &Value<'_>) -> Vec<u8> {
    let Value { payload, fresh_until, servable_until, local_ttl, lease } = *value;
    let flags = if payload.is_none() { flag::ABSENT } else { 0 };
    let servable_until = servable_until.max(fresh_until);
    let times = [fresh_until, servable_until];
    record(flags, times, wire_local_ttl(local_ttl), payload.unwrap_or_default(), lease)
}

/// A lease on a key that has no value, as the script `lease` writes it. The tests hold the two
/// against each other.
#[cfg(test)]
#[allow(dead_code, reason = "for the tests in `tests/`, which include this file")]
pub(crate) fn encode_lease_only(lease: LeaseMark) -> Vec<u8> {
    record(flag::VACANT, [Timestamp::ZERO; 2], 0, &[], Some(lease))
}

fn record(
    flags: u8,
    times: [Timestamp; 2],
    local_ttl: u32,
    payload: &[u8],
    lease: Option<LeaseMark>,
) -> Vec<u8> {
    // Redis refuses strings of more than 512 MiB. A payload that does not fit the field would make
    // a record that no reader accepts.
    let payload_len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let mut bytes = Vec::with_capacity(HEADER_LEN + payload.len());
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&[VERSION, HEADER_LEN as u8, flags, 0]);
    for time in times {
        bytes.extend_from_slice(&wire_time(time).to_be_bytes());
    }
    bytes.extend_from_slice(&payload_len.to_be_bytes());
    bytes.extend_from_slice(&local_ttl.to_be_bytes());
    debug_assert_eq!(bytes.len(), at::CHECKSUM);
    let checksum = checksum(&bytes, payload);
    bytes.extend_from_slice(&checksum.to_be_bytes());
    bytes.extend_from_slice(&lease_region(lease));
    bytes.extend_from_slice(payload);
    bytes
}

fn wire_time(time: Timestamp) -> u64 {
    let micros = time.as_micros();
    if micros < TIME_END { micros } else { NEVER }
}

fn wire_local_ttl(ttl: Option<Duration>) -> u32 {
    let Some(ttl) = ttl else { return NO_BOUND };
    u32::try_from(ttl.as_millis()).unwrap_or(NO_BOUND).min(NO_BOUND - 1)
}

fn lease_region(lease: Option<LeaseMark>) -> [u8; HEADER_LEN - at::MARKS] {
    let mut region = [0; HEADER_LEN - at::MARKS];
    if let Some(LeaseMark { id, deadline }) = lease {
        let mut put = |at: usize, number: u64| {
            region[at - at::MARKS..][..8].copy_from_slice(&number.to_be_bytes());
        };
        put(at::LEASE_CHECK, wire_time(deadline));
        put(at::LEASE_ID, id);
        put(at::LEASE_DEADLINE, wire_time(deadline));
        region[0] = mark::LEASED;
    }
    region
}
