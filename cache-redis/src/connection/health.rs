//! Whether the server can be reached: counted, and said once per change.
//!
//! Rules:
//!
//! 1. Down is when no connection is left and an attempt to open one has failed. A connection that
//!    breaks and is replaced at once is a reconnect and no change of state.
//! 2. While down, one connection at a time is being dialled; the first success wakes the others.
//! 3. Every change is one line, at most one a second; what was left out is said in the next.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use cache_core::CacheError;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;

const BETWEEN_LINES: Duration = Duration::from_secs(1);

/// Whether the server can be reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConnectionState {
    /// The first attempt is under way.
    #[default]
    Connecting,
    /// At least one connection is open.
    Up,
    /// None is open; attempts go on.
    Down,
    /// Shut down.
    Closed,
}

/// Counters of a [`Connections`](crate::Connections), since it was made.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ConnectionStats {
    /// Whether the server can be reached.
    pub state: ConnectionState,
    /// Connections that are open.
    pub open: usize,
    /// Connections that were opened in place of one that was lost.
    pub reconnects: u64,
    /// Attempts to connect that failed.
    pub failed_attempts: u64,
    /// Connections that were given up because the peer was silent.
    pub silent_peers: u64,
    /// Calls that had no answer in time.
    pub timeouts: u64,
    /// Calls that failed otherwise, error replies included.
    pub failures: u64,
    /// Why the last attempt to connect failed, or the last connection was lost.
    pub last_fault: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Health {
    address: String,
    state: watch::Sender<ConnectionState>,
    open: AtomicUsize,
    turn: Arc<Semaphore>,
    log: Mutex<Log>,
    last_fault: Mutex<Option<String>>,
    pub(crate) reconnects: AtomicU64,
    failed_attempts: AtomicU64,
    pub(crate) silent_peers: AtomicU64,
    pub(crate) timeouts: AtomicU64,
    pub(crate) failures: AtomicU64,
}

#[derive(Debug, Default)]
struct Log {
    said: ConnectionState,
    at: Option<Instant>,
    left_out: u32,
}

impl Health {
    pub(crate) fn new(address: String) -> Self {
        Self {
            address,
            state: watch::Sender::new(ConnectionState::Connecting),
            open: AtomicUsize::new(0),
            turn: Arc::new(Semaphore::new(1)),
            log: Mutex::default(),
            last_fault: Mutex::default(),
            reconnects: AtomicU64::new(0),
            failed_attempts: AtomicU64::new(0),
            silent_peers: AtomicU64::new(0),
            timeouts: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn state(&self) -> ConnectionState {
        *self.state.borrow()
    }

    /// The right to dial (rule 2): the only one while down, given freely otherwise.
    pub(crate) async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        let mut states = self.state.subscribe();
        tokio::select! {
            biased;
            _ = states.wait_for(|state| *state != ConnectionState::Down) => None,
            permit = Arc::clone(&self.turn).acquire_owned() => permit.ok(),
        }
    }

    /// Ends when it is shut down.
    pub(crate) async fn until_closed(&self) {
        let mut states = self.state.subscribe();
        // The sender lives as long as `self`: there is no other end.
        let _ = states.wait_for(|state| *state == ConnectionState::Closed).await;
    }

    pub(crate) fn opened(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
        self.enter(ConnectionState::Up);
    }

    pub(crate) fn lost(&self, why: &str) {
        self.open.fetch_sub(1, Ordering::Relaxed);
        *self.last_fault.lock() = Some(why.to_owned());
        tracing::debug!(redis = %self.address, %why, "a connection to Redis was lost");
    }

    pub(crate) fn failed(&self, fault: &CacheError) {
        self.failed_attempts.fetch_add(1, Ordering::Relaxed);
        *self.last_fault.lock() = Some(fault.to_string());
        if self.open.load(Ordering::Relaxed) == 0 {
            self.enter(ConnectionState::Down);
        }
    }

    pub(crate) fn closed(&self) {
        self.open.store(0, Ordering::Relaxed);
        self.enter(ConnectionState::Closed);
    }

    fn enter(&self, next: ConnectionState) {
        let changed = self.state.send_if_modified(|state| {
            let changed = *state != next && *state != ConnectionState::Closed;
            if changed {
                *state = next;
            }
            changed
        });
        if changed {
            self.say(true);
        }
    }

    /// Says the state, if it is another than was said last and a line is due (rule 3).
    pub(crate) fn say(&self, changed: bool) {
        let mut log = self.log.lock();
        let state = self.state();
        if log.said == state {
            return;
        }
        let due = log.at.is_none_or(|at| at.elapsed() >= BETWEEN_LINES);
        if !due && state != ConnectionState::Closed {
            log.left_out += u32::from(changed);
            return;
        }
        let left_out = std::mem::take(&mut log.left_out);
        (log.said, log.at) = (state, Some(Instant::now()));
        drop(log);
        let redis = &self.address;
        match state {
            ConnectionState::Connecting => {}
            ConnectionState::Up => tracing::info!(%redis, left_out, "Redis is up"),
            ConnectionState::Down => {
                let why = self.last_fault.lock().clone().unwrap_or_default();
                tracing::warn!(%redis, left_out, why, "Redis is down");
            }
            ConnectionState::Closed => tracing::info!(%redis, left_out, "Redis is shut down"),
        }
    }

    pub(crate) fn stats(&self) -> ConnectionStats {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ConnectionStats {
            state: self.state(),
            open: self.open.load(Ordering::Relaxed),
            reconnects: count(&self.reconnects),
            failed_attempts: count(&self.failed_attempts),
            silent_peers: count(&self.silent_peers),
            timeouts: count(&self.timeouts),
            failures: count(&self.failures),
            last_fault: self.last_fault.lock().clone(),
        }
    }
}
