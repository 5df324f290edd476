//! How far a run has come.

use serde::Serialize;

use crate::Timestamp;

/// How many failures a run keeps; the others are counted.
pub(super) const FAILURES_KEPT: usize = 20;

/// What a run does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum WarmState {
    /// It lists keys or loads them.
    Running,
    /// It has come to its end, with or without failures.
    Done,
    /// It was stopped before.
    Cancelled,
}

/// Why a run was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum WarmCause {
    /// The start of the process.
    Start,
    /// A loader's schedule.
    Schedule,
    /// Somebody has asked.
    Demand,
}

/// What went wrong with one batch, or with the listing of a loader's keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct WarmFailure {
    /// The loader's name.
    pub loader: String,
    /// How many keys it concerns; 0 if they could not be listed.
    pub keys: u64,
    /// The first of them; of one that is too long to be a key, what it begins with.
    pub first_key: Option<String>,
    /// What happened, in words.
    pub error: String,
}

/// How far a run has come: a snapshot.
///
/// `done` of `total` keys have been gone through. Of those, `failed` were in batches that failed,
/// `loaded` were asked of the loader while the run waited, and the others were cached, or being loaded
/// by someone else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct WarmProgress {
    /// The number of the run.
    pub id: u64,
    /// Why it was begun.
    pub cause: WarmCause,
    /// What it does.
    pub state: WarmState,
    /// When it began; in JSON microseconds since the Unix epoch.
    #[serde(rename = "started_micros")]
    pub started: Timestamp,
    /// When it ended; in JSON microseconds since the Unix epoch too.
    #[serde(rename = "ended_micros")]
    pub ended: Option<Timestamp>,
    /// Keys to warm, each once. It grows while keys are listed.
    pub total: u64,
    /// Keys that were gone through.
    pub done: u64,
    /// Of these, keys that the loader was asked for.
    pub loaded: u64,
    /// Of these, keys that turned out to have no value.
    pub absent: u64,
    /// Of these, keys in batches that failed.
    pub failed: u64,
    /// Batches that were gone through.
    pub batches: u64,
    /// What went wrong, the first 20 of them.
    pub failures: Vec<WarmFailure>,
    /// Failures beyond those.
    pub more_failures: u64,
}

impl WarmProgress {
    pub(super) fn begun(id: u64, cause: WarmCause, started: Timestamp) -> Self {
        Self {
            id,
            cause,
            state: WarmState::Running,
            started,
            ended: None,
            total: 0,
            done: 0,
            loaded: 0,
            absent: 0,
            failed: 0,
            batches: 0,
            failures: Vec::new(),
            more_failures: 0,
        }
    }

    /// Whether it goes on.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.state == WarmState::Running
    }

    /// Whether it has come to its end and nothing went wrong.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.state == WarmState::Done && self.failures.is_empty()
    }

    pub(super) fn note(&mut self, failure: WarmFailure) {
        match self.failures.len() {
            FAILURES_KEPT.. => self.more_failures += 1,
            _ => self.failures.push(failure),
        }
    }
}
