//! One run: its keys are listed, put into batches, and loaded.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::{StreamExt, stream};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::loader::{Turn, WarmLoader};
use super::progress::{FAILURES_KEPT, WarmCause, WarmFailure, WarmProgress, WarmState};
use super::warmer::Shared;
use crate::{CacheError, Clock, MAX_KEY_BYTES, check_key, in_words};

/// A handle to a run. Dropping it does not stop the run.
///
/// A clone starts watching where the original is.
#[derive(Clone, Debug)]
pub struct WarmRun {
    watched: watch::Receiver<WarmProgress>,
    task: AbortHandle,
}

impl WarmRun {
    pub(super) fn new(watched: watch::Receiver<WarmProgress>, task: AbortHandle) -> Self {
        Self { watched, task }
    }

    /// The number of the run.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.watched.borrow().id
    }

    /// How far it has come.
    #[must_use]
    pub fn progress(&self) -> WarmProgress {
        self.watched.borrow().clone()
    }

    /// Waits for progress that this handle has not told of yet; the latest, if there were several.
    /// `None` once the end has been told.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<WarmProgress> {
        // It fails when the run has ended and that was seen.
        self.watched.changed().await.ok()?;
        Some(self.watched.borrow_and_update().clone())
    }

    /// Waits for the end.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not stop the run.
    pub async fn wait(&self) -> WarmProgress {
        let mut watched = self.watched.clone();
        match watched.wait_for(|progress| !progress.is_running()).await {
            Ok(progress) => progress.clone(),
            // The run says how it ended before it lets go.
            Err(_) => self.progress(),
        }
    }

    /// Stops the run. Loads under way are finished for whoever else waits for them.
    pub fn cancel(&self) {
        self.task.abort();
    }
}

/// A loader with its keys; `None`: those that it lists.
pub(super) type Part = (Arc<WarmLoader>, Option<Vec<String>>);

/// What a run is to warm.
pub(super) struct Plan {
    pub(super) cause: WarmCause,
    pub(super) parts: Vec<Part>,
}

/// Where a run tells of its progress. Dropped before the end it tells of that.
pub(super) struct Reporter {
    told: watch::Sender<WarmProgress>,
    clock: Clock,
}

impl Reporter {
    pub(super) fn new(begun: WarmProgress, clock: Clock) -> Self {
        Self { told: watch::Sender::new(begun), clock }
    }

    pub(super) fn watch(&self) -> watch::Receiver<WarmProgress> {
        self.told.subscribe()
    }

    /// Those that are kept are logged too. How many there are is told in the end.
    fn failed(&self, loader: &WarmLoader, keys: &[String], error: &CacheError) {
        let (name, count) = (&loader.name, keys.len() as u64);
        if self.told.borrow().failures.len() < FAILURES_KEPT {
            tracing::warn!(loader = name, keys = count, %error, "a warm-up failed in part");
        }
        self.told.send_modify(|progress| {
            progress.done += count;
            progress.failed += count;
            progress.note(WarmFailure {
                loader: name.clone(),
                keys: count,
                // A list can name anything: as much of it as a key may have.
                first_key: keys.first().map(|key| key.chars().take(MAX_KEY_BYTES).collect()),
                error: in_words(error),
            });
        });
    }

    fn end(&self, state: WarmState) {
        let now = self.clock.now();
        self.told.send_modify(|progress| {
            progress.state = state;
            progress.ended = Some(now);
        });
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        if self.told.borrow().is_running() {
            self.end(WarmState::Cancelled);
        }
    }
}

impl Plan {
    pub(super) async fn carry_out(self, shared: &Shared, reporter: Reporter) {
        let mut batches = Vec::new();
        for (loader, named) in self.parts {
            let keys = match named {
                Some(keys) => Ok(keys),
                None => loader.list(&shared.clock).await,
            };
            match keys {
                Ok(keys) => batches.extend(
                    in_batches(&loader, keys, shared.batch_size, &reporter)
                        .into_iter()
                        .map(|keys| (Arc::clone(&loader), keys)),
                ),
                Err(error) => reporter.failed(&loader, &[], &error),
            }
        }
        let load =
            |(loader, keys): (Arc<WarmLoader>, Vec<String>)| load(shared, &reporter, loader, keys);
        stream::iter(batches).for_each_concurrent(shared.concurrency, load).await;
        reporter.end(WarmState::Done);
        let WarmProgress { id, cause, total, loaded, absent, failed, .. } =
            &*reporter.told.borrow();
        tracing::info!(run = id, ?cause, keys = total, loaded, absent, failed, "warmed up");
    }
}

/// Each key once; those that could be no key fail by themselves, not with their batch.
fn in_batches(
    loader: &WarmLoader,
    keys: Vec<String>,
    size: usize,
    reporter: &Reporter,
) -> Vec<Vec<String>> {
    let mut seen = HashSet::with_capacity(keys.len());
    let (mut good, mut bad) = (Vec::with_capacity(keys.len()), Vec::new());
    for key in keys {
        if seen.insert(key.clone()) {
            match check_key(&key) {
                Ok(()) => good.push(key),
                Err(error) => bad.push((key, error)),
            }
        }
    }
    let total = (good.len() + bad.len()) as u64;
    reporter.told.send_modify(|progress| progress.total += total);
    for (key, error) in bad {
        reporter.failed(loader, &[key], &error);
    }
    good.chunks(size).map(<[String]>::to_vec).collect()
}

async fn load(shared: &Shared, reporter: &Reporter, loader: Arc<WarmLoader>, keys: Vec<String>) {
    // It is never closed.
    let Ok(turn) = Arc::clone(&shared.turns).acquire_owned().await else { return };
    // Whichever is longer, the load or the wait for it, keeps the turn.
    let turn: Turn = Arc::new(turn);
    match loader.load(&shared.cache, keys.clone(), Arc::clone(&turn)).await {
        Ok(batch) => reporter.told.send_modify(|progress| {
            progress.done += keys.len() as u64;
            progress.loaded += batch.loaded;
            progress.absent += batch.absent;
            progress.batches += 1;
        }),
        Err(error) => {
            reporter.failed(&loader, &keys, &error);
            reporter.told.send_modify(|progress| progress.batches += 1);
        }
    }
}
