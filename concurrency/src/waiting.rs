//! The way from a place in the queue to the lock.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use cache_core::{Clock, LockError, LockErrorKind, LockLease, Timestamp};

use crate::service::shut_down;
use crate::shard::Shard;
use crate::state::{Look, Name};

/// A place in the queue. Dropping it leaves the queue, or passes on the lock if it was granted
/// and nobody has taken it out of here.
pub(crate) struct Ticket<'a> {
    shard: &'a Shard,
    name: Name<'a>,
    place: u64,
    taken: bool,
}

impl<'a> Ticket<'a> {
    pub(crate) fn new(shard: &'a Shard, name: Name<'a>, place: u64) -> Self {
        Self { shard, name, place, taken: false }
    }

    /// Waits for the lock until `deadline`; `None` if others had it until then.
    pub(crate) async fn granted(
        mut self,
        clock: &Clock,
        deadline: Timestamp,
    ) -> Result<Option<LockLease>, LockError> {
        // At first the holder's end is not known; the first look tells.
        let mut look_again = deadline;
        loop {
            let mut timer = pin!(clock.sleep_until(look_again));
            let look = poll_fn(|cx| match self.shard.look(self.name, self.place, cx.waker()) {
                Look::Waiting { holder_ends } if holder_ends < look_again => {
                    Poll::Ready(Look::Waiting { holder_ends })
                }
                Look::Waiting { holder_ends } => {
                    timer.as_mut().poll(cx).map(|()| Look::Waiting { holder_ends })
                }
                ended => Poll::Ready(ended),
            })
            .await;
            match look {
                Look::Granted(lease) => {
                    self.taken = true;
                    return Ok(Some(lease));
                }
                Look::Waiting { .. } if clock.now() >= deadline => return Ok(None),
                // The timer is armed for the holder's end, if that comes first: then this waiter
                // looks again and, if it is the head, takes over.
                Look::Waiting { holder_ends } => look_again = holder_ends.min(deadline),
                Look::Gone => {
                    let message = "the lock was granted, and lost before it was seen";
                    return Err(LockError::new(LockErrorKind::LeaseLost, message));
                }
                Look::Closed => return Err(shut_down()),
            }
        }
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        if !self.taken {
            let _ = self.shard.leave(self.name, self.place);
        }
    }
}
