//! Which loaders wait for which loads, to tell one that waits for itself.
//!
//! Rules:
//!
//! 1. A loader runs as the task that called it. What it spawns runs as nobody's, and is not seen.
//! 2. While a call within a loader waits for a flight, and has nothing else that would do, a wait
//!    is on record, from the loader's task to the flight. A flight is ended by the task that loads
//!    it. So who comes back to itself, along the waits, waits for ever.
//! 3. Under one lock a wait is recorded and followed: of those that close a circle together the
//!    last finds it.
//! 4. A wait counts as long as its flight is as the waiter has last seen it. With anything new
//!    there the waiter will look again, and then it may have its answer.
//! 5. With no loader waiting there is nothing on record.

use std::collections::{BTreeMap, HashSet};
use std::future::Future;

use parking_lot::Mutex;

use super::flight::{Flight, Task};
use super::flights::Flight as _;
use crate::{CacheError, ErrorKind};

tokio::task_local! {
    /// The task whose loader this is.
    static LOADING: u64;
}

/// By the task that waits.
static WAITS: Mutex<BTreeMap<u64, Vec<Wait>>> = Mutex::new(BTreeMap::new());

/// What one call within a loader waits for.
struct Wait {
    flight: Flight,
    /// What the waiter has seen of it.
    version: u64,
}

/// Runs a loader as that of `task`.
pub(crate) async fn scope<T>(task: &Task, loader: impl Future<Output = T>) -> T {
    LOADING.scope(task.id(), loader).await
}

/// Refuses to wait for a flight that waits for the current loader.
pub(crate) fn check(key: &str, flight: &Flight) -> Result<(), CacheError> {
    let waits_for = |task: &u64| !flight.has_landed() && comes_back(&WAITS.lock(), flight, *task);
    match LOADING.try_with(waits_for) {
        Ok(true) => Err(waits_for_itself(key)),
        Ok(false) | Err(_) => Ok(()),
    }
}

/// Records that the current loader, if there is one, waits for `flight`, of which it has seen
/// `version`.
///
/// # Errors
///
/// `flight` waits for the loader.
pub(crate) fn wait_for(
    key: &str,
    flight: &Flight,
    version: u64,
) -> Result<Option<Waiting>, CacheError> {
    let Ok(task) = LOADING.try_with(|task| *task) else { return Ok(None) };
    let mut waits = WAITS.lock();
    if comes_back(&waits, flight, task) {
        return Err(waits_for_itself(key));
    }
    waits.entry(task).or_default().push(Wait { flight: flight.clone(), version });
    Ok(Some(Waiting { task, flight: flight.id() }))
}

/// Ends a wait when dropped.
pub(crate) struct Waiting {
    task: u64,
    flight: u64,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut waits = WAITS.lock();
        let Some(own) = waits.get_mut(&self.task) else { return };
        let at = own.iter().position(|wait| wait.flight.id() == self.flight);
        let ended = at.map(|at| own.swap_remove(at));
        if own.is_empty() {
            waits.remove(&self.task);
        }
        // After the lock: a value that the flight holds may be its user's code to drop.
        drop(waits);
        drop(ended);
    }
}

/// Whether `flight` waits, by however many others, for the loader of `task`.
fn comes_back(waits: &BTreeMap<u64, Vec<Wait>>, flight: &Flight, task: u64) -> bool {
    let mut open = vec![flight.task().id()];
    let mut seen = HashSet::new();
    while let Some(next) = open.pop() {
        if next == task {
            return true;
        }
        if let Some(waits) = waits.get(&next)
            && seen.insert(next)
        {
            let standing = waits.iter().filter(|wait| wait.flight.version() == wait.version);
            open.extend(standing.map(|wait| wait.flight.task().id()));
        }
    }
    false
}

#[cold]
fn waits_for_itself(key: &str) -> CacheError {
    let message = "a loader asked for what waits for it: the key that it is loading, or one whose \
                   loader asks for that";
    CacheError::new(ErrorKind::Load, message).with_key(key)
}
