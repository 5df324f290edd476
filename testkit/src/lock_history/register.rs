//! A resource that knows about fences.

use std::error::Error;
use std::fmt;

use parking_lot::Mutex;

use super::record::{Access, LockRecorder};

/// A number that is read and written under a lock, and refuses whoever comes with a lower fencing
/// token than somebody before. That goes for reading, too: what was read is worth nothing as soon as
/// another holder may write. Every access is recorded.
///
/// ```
/// use cache_testkit::lock_history::{FencedRegister, LockRecorder};
///
/// let register = FencedRegister::new(&LockRecorder::new(), "account:7");
/// let old = register.read(0, 41).unwrap();
/// let new = register.read(1, 42).unwrap(); // the next holder
/// register.write(1, 42, new + 1).unwrap();
/// assert!(register.write(0, 41, old + 1).is_err());
/// assert_eq!(register.value(), 1);
/// ```
#[derive(Debug)]
pub struct FencedRegister {
    recorder: LockRecorder,
    key: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    value: u64,
    fence: u64,
}

/// The fencing token was lower than one that a [`FencedRegister`] has seen before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The token.
    pub fence: u64,
    /// What was seen before.
    pub seen: u64,
}

impl FencedRegister {
    /// Zero, and no fence seen; protected by the lock `key`.
    #[must_use]
    pub fn new(recorder: &LockRecorder, key: &str) -> Self {
        let (recorder, key) = (recorder.clone(), key.to_owned());
        Self { recorder, key, state: Mutex::default() }
    }

    /// The value, for the client of that number.
    ///
    /// # Errors
    ///
    /// If a higher fence was seen.
    pub fn read(&self, client: usize, fence: u64) -> Result<u64, Refused> {
        self.access(client, fence, |state| state.value)
    }

    /// Sets the value.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read); the value is as before.
    pub fn write(&self, client: usize, fence: u64, value: u64) -> Result<(), Refused> {
        self.access(client, fence, |state| state.value = value)
    }

    /// The value, for the test.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.state.lock().value
    }

    fn access<T>(
        &self,
        client: usize,
        fence: u64,
        act: impl FnOnce(&mut State) -> T,
    ) -> Result<T, Refused> {
        let began = self.recorder.stamp();
        let mut state = self.state.lock();
        let outcome = match state.fence {
            seen if seen > fence => Err(Refused { fence, seen }),
            _ => {
                state.fence = fence;
                Ok(act(&mut state))
            }
        };
        drop(state);
        let (key, ended, accepted) = (self.key.clone(), self.recorder.stamp(), outcome.is_ok());
        self.recorder.access(Access { client, key, fence, began, ended, accepted });
        outcome
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fence {} comes after {}", self.fence, self.seen)
    }
}

impl Error for Refused {}
