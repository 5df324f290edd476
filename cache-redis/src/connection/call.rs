//! How a call wants to be made: on which connections, how often, how long.

use std::time::Duration;

use redis::{Cmd, Pipeline, RedisError, Value};

use crate::error::refusal;

/// Which connections a call uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Lane {
    /// Small commands with small answers: shared by all, least busy first.
    Small,
    /// Large values, which would hold up the small ones behind them.
    Bulk,
    /// Scans and other long work.
    Scan,
}

/// What to do when the connection breaks before the answer is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Retry {
    /// Fail: whether the command ran is not known. For scripts, locks, whatever repeating changes.
    #[default]
    Never,
    /// Send it once more, on another connection, within the same budget. For what may run twice.
    Once,
}

/// How often a call has been sent: whatever its outcome, it has run that often at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent(pub u32);

/// A connection of a lane that has one: it tells it from those before and after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Generation(pub(super) u64);

/// How one call is made.
///
/// ```
/// use cache_redis::{Call, Lane, Retry};
/// use std::time::Duration;
///
/// let read = Call::new(Lane::Small).retry(Retry::Once);
/// let slow = Call::new(Lane::Scan).budget(Duration::from_secs(1));
/// # let _ = (read, slow);
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Call {
    pub(crate) lane: Lane,
    pub(crate) retry: Retry,
    pub(crate) budget: Option<Duration>,
    pub(crate) to_the_end: bool,
    pub(crate) over: Option<Generation>,
}

impl Call {
    /// A call on `lane`, without retry, within the configured
    /// [`operation_timeout`](crate::RedisConfig::operation_timeout).
    pub const fn new(lane: Lane) -> Self {
        Self { lane, retry: Retry::Never, budget: None, to_the_end: false, over: None }
    }

    /// Whether it may be repeated.
    pub const fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// Another time limit than the configured one.
    pub const fn budget(mut self, budget: Duration) -> Self {
        self.budget = Some(budget);
        self
    }

    /// What has been sent may be done until the budget is over: if the connection breaks, the caller
    /// hears of it no sooner.
    pub(crate) const fn to_the_end(mut self) -> Self {
        self.to_the_end = true;
        self
    }

    /// Over this connection and no other: what is sent means something to this server alone.
    pub(crate) const fn over(mut self, connection: Generation) -> Self {
        self.over = Some(connection);
        self
    }
}

/// What to send and, in a cluster, to whom.
#[derive(Clone, Copy)]
pub(crate) enum Request<'a> {
    /// To the node that has the command's key.
    Command(&'a Cmd),
    /// To the node that has the keys of all commands.
    Pipeline(&'a Pipeline),
    /// To the node at host and port; the only server, if there is no cluster.
    At(&'a Cmd, &'a str, u16),
    /// To every primary of a cluster: a map of replies, by address.
    Everyone(&'a Cmd),
}

impl Request<'_> {
    /// What in `reply` may say something about the connection: an error, or the first error among
    /// a pipeline's replies. One inside another reply is that reply's business.
    pub(crate) fn refusal(&self, reply: &Value) -> Option<RedisError> {
        match (self, reply) {
            (Self::Pipeline(_), Value::Array(replies)) => replies.iter().find_map(refusal),
            (_, reply) => refusal(reply),
        }
    }
}
