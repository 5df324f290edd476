//! Who waits for a key that another node loads.

use std::collections::HashMap;
use std::sync::Arc;

use cache_core::{BoxFuture, Selector};
use parking_lot::Mutex;
use tokio::sync::oneshot;

/// Waiters by key. A waiter that goes away leaves nothing behind.
#[derive(Default)]
pub(crate) struct Waiters(Arc<Mutex<Waiting>>);

#[derive(Default)]
struct Waiting {
    /// Nearly always one for a key: the loads of a process are one load.
    by_key: HashMap<Arc<str>, Vec<Waiter>>,
    last: u64,
}

struct Waiter {
    number: u64,
    /// Dropped, it wakes.
    _wake: oneshot::Sender<()>,
}

/// Takes its waiter off the list when dropped.
struct Place {
    waiting: Arc<Mutex<Waiting>>,
    key: Arc<str>,
    number: u64,
}

impl Waiters {
    /// Ends at the next [`wake`](Self::wake) of the key, counted from now.
    pub(crate) fn wait(&self, key: &str) -> BoxFuture<'static, ()> {
        let (_wake, woken) = oneshot::channel();
        let key = Arc::<str>::from(key);
        let mut waiting = self.0.lock();
        waiting.last += 1;
        let number = waiting.last;
        let waiters =
            waiting.by_key.entry(Arc::clone(&key)).or_insert_with(|| Vec::with_capacity(1));
        waiters.push(Waiter { number, _wake });
        drop(waiting);
        let place = Place { waiting: Arc::clone(&self.0), key, number };
        Box::pin(async move {
            // Woken, or the store is gone: either way there is something to look at.
            let _ = woken.await;
            drop(place);
        })
    }

    /// Wakes who waits for a key that `what` selects.
    pub(crate) fn wake(&self, what: &Selector) {
        match what {
            Selector::Keys(keys) => keys.iter().for_each(|key| self.wake_key(key)),
            what => self.0.lock().by_key.retain(|key, _| !what.matches(key)),
        }
    }

    /// Wakes who waits for `key`.
    pub(crate) fn wake_key(&self, key: &str) {
        self.0.lock().by_key.remove(key);
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.0.lock().by_key.len()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut waiting = self.waiting.lock();
        if let Some(waiters) = waiting.by_key.get_mut(&self.key) {
            waiters.retain(|waiter| waiter.number != self.number);
            if waiters.is_empty() {
                waiting.by_key.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cache_testkit::poll_once;

    #[test]
    fn woken_by_key_prefix_and_all_and_gone_when_dropped() {
        let waiters = Waiters::default();
        let mut waits: Vec<_> = ["a", "a", "org:1", "b"].map(|key| waiters.wait(key)).into();
        assert_eq!(waiters.len(), 3);
        waiters.wake(&Selector::key("x"));
        assert!(waits.iter_mut().all(|wait| poll_once(wait).is_pending()));
        drop(waits.remove(0));
        waiters.wake(&Selector::key("a"));
        assert!(poll_once(&mut waits[0]).is_ready());
        waiters.wake(&Selector::Prefix("org:".into()));
        assert!(poll_once(&mut waits[1]).is_ready());
        assert!(poll_once(&mut waits[2]).is_pending());
        drop(waits.remove(2));
        assert_eq!(waiters.len(), 0);
    }
}
