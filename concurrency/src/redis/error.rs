//! What an error of the connection means for a lock.

use cache_core::{CacheError, ErrorKind, LockError, LockErrorKind};
use cache_redis::Sent;

/// Redis did not do what it was asked: it is not there, too slow, or refuses.
pub(crate) fn unavailable(error: CacheError) -> LockError {
    let message = match error.kind() {
        ErrorKind::Timeout => "Redis did not answer in time",
        ErrorKind::Unavailable => "Redis cannot be reached",
        _ => "Redis refused",
    };
    LockError::new(LockErrorKind::Unavailable, message).with_source(error)
}

/// Whether it may have been done, or may soon be: it is not refused.
pub(crate) fn may_heal(error: &CacheError) -> bool {
    matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Unavailable)
}

/// Whether what was sent so often and ended like this may have run, or may run yet.
pub(crate) fn may_run(error: &CacheError, sent: Sent) -> bool {
    // A refusal says nothing of what was sent before.
    sent.0 > u32::from(is_refused(error))
}

/// Whether the server has said so, and not the connection.
pub(crate) fn is_refused(error: &CacheError) -> bool {
    from_redis(error).is_some_and(|error| error.code().is_some())
}

/// What the client says of it, if it comes from there.
fn from_redis(error: &CacheError) -> Option<&redis::RedisError> {
    std::error::Error::source(error)?.downcast_ref()
}

/// Whether the lock's slot is on its way to another node of a cluster, and for now at neither.
pub(crate) fn is_moving(error: &CacheError) -> bool {
    use redis::{
        ErrorKind::Server,
        ServerErrorKind::{Ask, Moved, TryAgain},
    };
    from_redis(error).is_some_and(|error| matches!(error.kind(), Server(Ask | Moved | TryAgain)))
}

/// Whether something else stands where a lock would.
pub(crate) fn is_wrong_type(error: &CacheError) -> bool {
    // Redis 6 has the code inside the words of another error.
    from_redis(error).is_some_and(|error| {
        let words = error.detail().unwrap_or_default();
        error.code() == Some("WRONGTYPE") || words.contains("WRONGTYPE")
    })
}

pub(crate) fn task_late() -> LockError {
    LockError::new(LockErrorKind::Unavailable, "the runtime of the lock service stands still")
}

pub(crate) fn task_gone() -> LockError {
    LockError::new(LockErrorKind::Unavailable, "the runtime of the lock service has ended")
}
