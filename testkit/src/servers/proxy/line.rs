//! A bound on the bytes per second that all connections share.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// The largest piece that is passed on at once.
pub(super) const PIECE: usize = 16 * 1024;

/// The line to the server and the one back.
#[derive(Debug, Default)]
pub(super) struct Lines {
    pub(super) to_server: Line,
    pub(super) to_client: Line,
}

/// One of them: until when it is taken, at which bandwidth.
#[derive(Debug, Default)]
pub(super) struct Line(Mutex<Option<(u64, Instant)>>);

/// So many bytes may go at such a time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub(super) bandwidth: u64,
    pub(super) bytes: usize,
    pub(super) at: Instant,
}

impl Line {
    /// Takes the line for up to `bytes`: at most a fiftieth of a second's worth, so that one large
    /// value does not keep it from the others for longer than that.
    pub(super) fn take(&self, bandwidth: u64, bytes: usize, now: Instant) -> Slot {
        let share = usize::try_from((bandwidth / 50).max(1)).unwrap_or(usize::MAX);
        let bytes = bytes.min(share).min(PIECE);
        let mut taken = self.0.lock();
        let free = match *taken {
            // What was agreed under another bandwidth does not count.
            Some((agreed, until)) if agreed == bandwidth => until.max(now),
            _ => now,
        };
        let at = free + Duration::from_secs_f64(bytes as f64 / bandwidth as f64);
        *taken = Some((bandwidth, at));
        Slot { bandwidth, bytes, at }
    }
}
