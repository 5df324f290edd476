//! A lock service whose callers are recorded.

use std::sync::Arc;

use cache_core::{ConcurrencyService, LockError, LockGuard, LockOptions};
use parking_lot::Mutex;

use super::record::{Hold, LockRecorder};

/// One client of a lock service; every grant is recorded.
///
/// ```
/// use cache_core::LockOptions;
/// use cache_testkit::lock_history::{Exclusion, LockClient, LockRecorder, check_locks};
/// use std::sync::Arc;
/// # use cache_testkit::MockConcurrencyService;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), cache_core::LockError> {
/// # let mut my_locks = MockConcurrencyService::new();
/// # my_locks.grants("account:7");
/// let recorder = LockRecorder::new();
/// let client = LockClient::new(&recorder, 0, Arc::new(my_locks));
/// let guard = client.acquire("account:7", &LockOptions::default()).await?;
/// guard.check()?; // as before a side effect
/// guard.release().await?;
///
/// let history = recorder.history();
/// assert_eq!(history.holds.len(), 1);
/// check_locks(&history, Exclusion::Required).unwrap();
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct LockClient {
    recorder: LockRecorder,
    number: usize,
    locks: Arc<dyn ConcurrencyService>,
}

impl LockClient {
    /// The client of that number.
    #[must_use]
    pub fn new(recorder: &LockRecorder, number: usize, locks: Arc<dyn ConcurrencyService>) -> Self {
        Self { recorder: recorder.clone(), number, locks }
    }

    /// [`ConcurrencyService::acquire`].
    ///
    /// # Errors
    ///
    /// The service's.
    pub async fn acquire(
        &self,
        key: &str,
        options: &LockOptions,
    ) -> Result<RecordedGuard, LockError> {
        let asked = self.recorder.stamp();
        let guard = self.locks.acquire(key, options).await?;
        let hold = Hold {
            client: self.number,
            key: key.to_owned(),
            fence: guard.fencing_token().into(),
            asked,
            granted: self.recorder.stamp(),
            valid: None,
        };
        let recorded = RecordedGuard {
            recorder: self.recorder.clone(),
            hold: Mutex::new(hold),
            guard: Some(guard),
        };
        // Known from its very beginning on, if it is known at all.
        let _ = recorded.check();
        Ok(recorded)
    }
}

/// A lock that is held, and recorded when it is not any more; made by [`LockClient::acquire`].
#[derive(Debug)]
#[must_use = "dropping the guard releases the lock"]
pub struct RecordedGuard {
    recorder: LockRecorder,
    hold: Mutex<Hold>,
    /// `None` once it is being released.
    guard: Option<LockGuard>,
}

impl RecordedGuard {
    /// The grant's fencing token.
    #[must_use]
    pub fn fence(&self) -> u64 {
        self.hold.lock().fence
    }

    /// [`LockGuard::check`]. Each time it says yes the hold is known to have lasted until then.
    ///
    /// # Errors
    ///
    /// As [`LockGuard::check`].
    pub fn check(&self) -> Result<(), LockError> {
        let before = self.recorder.stamp();
        self.guard.as_ref().map_or(Ok(()), LockGuard::check)?;
        let mut hold = self.hold.lock();
        // As `check` may be called in two threads at once.
        hold.valid = hold.valid.max(Some(before));
        Ok(())
    }

    /// [`LockGuard::release`].
    ///
    /// # Errors
    ///
    /// As [`LockGuard::release`].
    pub async fn release(mut self) -> Result<(), LockError> {
        let _ = self.check();
        match self.guard.take() {
            Some(guard) => guard.release().await,
            None => Ok(()),
        }
    }
}

impl Drop for RecordedGuard {
    fn drop(&mut self) {
        self.recorder.hold(self.hold.get_mut().clone());
    }
}
