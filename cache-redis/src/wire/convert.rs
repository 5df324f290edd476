//! Between entries, which live by the local clock, and records, which live by the server's.

use std::time::Duration;

use cache_core::{Entry, Timestamp};

use super::{TIME_END, Value, encode};

/// How far the server's clock is ahead of the local one, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClockOffset(i64);

impl ClockOffset {
    /// The server's clock is ahead of ours by so many microseconds.
    pub(crate) fn ahead(micros: i64) -> Self {
        Self(micros)
    }

    /// A local time on the server's clock. Never stays never.
    pub(crate) fn to_server(self, local: Timestamp) -> Timestamp {
        shift(local, self.0)
    }

    /// A server's time on the local clock. Never stays never.
    pub(crate) fn to_local(self, server: Timestamp) -> Timestamp {
        shift(server, self.0.saturating_neg())
    }
}

fn shift(time: Timestamp, by: i64) -> Timestamp {
    if time == Timestamp::MAX {
        return time;
    }
    Timestamp::from_micros(time.as_micros().saturating_add_signed(by))
}

/// How a key's own life is set when a record is written: `PX`, none, or not written at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expiry {
    /// It is over already: the key is to be removed.
    Past,
    /// `PX`, in milliseconds; at least 1.
    After(u64),
    /// No `PX`.
    Never,
}

impl Expiry {
    /// For a record that is servable until `servable_until`. Rounded up, as the header is exact
    /// and the key's own end only frees memory. Both times are of the same clock.
    pub(crate) fn of(servable_until: Timestamp, now: Timestamp) -> Self {
        // What the header says, too.
        if servable_until.as_micros() >= TIME_END {
            return Self::Never;
        }
        match servable_until.as_micros().saturating_sub(now.as_micros()).div_ceil(1_000) {
            0 => Self::Past,
            millis => Self::After(millis),
        }
    }
}

/// A settled entry as it is stored, without a lease.
pub(crate) fn encode_entry(entry: &Entry, offset: ClockOffset) -> Vec<u8> {
    encode(&Value {
        payload: entry.bytes(),
        fresh_until: offset.to_server(entry.fresh_until()),
        servable_until: offset.to_server(entry.servable_until()),
        local_ttl: entry.local_ttl(),
        lease: None,
    })
}

impl Value<'_> {
    /// The entry it holds, by the local clock. How long the process may hold it counts from `now`.
    pub(crate) fn to_entry(self, offset: ClockOffset, now: Timestamp) -> Entry {
        let (fresh_until, servable_until) =
            (offset.to_local(self.fresh_until), offset.to_local(self.servable_until));
        let entry = Entry::restore(self.payload, fresh_until, servable_until);
        match self.local_ttl {
            Some(ttl) => entry.with_local_ttl(now, ttl),
            None => entry,
        }
    }
}

/// Plain JSON as an entry: fresh as long as its key lives, `None` being for ever. `now` is local.
pub(crate) fn foreign_entry(json: &[u8], ttl: Option<Duration>, now: Timestamp) -> Entry {
    let until = now + ttl.unwrap_or(Duration::MAX);
    Entry::restore(Some(json), until, until)
}
