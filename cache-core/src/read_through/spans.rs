//! The span of a load, with the feature `tracing`: from the call that starts it to its end in the
//! background. Without the feature a load runs in its caller's span, as it does in its own then.

use std::future::Future;

use futures_util::FutureExt;
use tracing::{Instrument, Span};

use super::Inner;
use super::flight::Outcome;
use crate::{CacheError, ErrorKind};

/// What is loaded.
#[derive(Clone, Copy)]
#[cfg_attr(not(feature = "tracing"), allow(dead_code, reason = "nobody is told"))]
pub(super) enum Loaded<'a> {
    Key(&'a str),
    Keys(usize),
}

/// How a load ended.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(feature = "tracing"), allow(dead_code, reason = "nobody is told"))]
pub(super) enum Ended {
    /// There was nothing to load.
    Found,
    Loaded,
    Failed(ErrorKind),
}

impl Ended {
    pub(super) fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Found(_) => Self::Found,
            Outcome::Loaded(_) => Self::Loaded,
            Outcome::Failed(error) | Outcome::NotTried(error) => Self::failed(error),
        }
    }

    pub(super) fn failed(error: &CacheError) -> Self {
        Self::Failed(error.kind())
    }
}

/// The span of one load.
pub(super) struct LoadSpan(Span);

impl<S> Inner<S> {
    /// A child of the caller's span.
    #[cfg(feature = "tracing")]
    pub(super) fn load_span(&self, what: Loaded<'_>) -> LoadSpan {
        use tracing::field::{Empty, display};

        let span = tracing::info_span!(
            "cache.load",
            key = Empty,
            keys = Empty,
            result = Empty,
            error = Empty
        );
        match what {
            Loaded::Key(key) => span.record("key", display(self.traced_keys.show(key))),
            Loaded::Keys(count) => span.record("keys", count),
        };
        LoadSpan(span)
    }

    #[cfg(not(feature = "tracing"))]
    pub(super) fn load_span(&self, _what: Loaded<'_>) -> LoadSpan {
        LoadSpan(Span::current())
    }
}

impl LoadSpan {
    /// Runs the task of the load in it.
    pub(super) fn around(
        self,
        task: impl Future<Output = Ended> + Send,
    ) -> impl Future<Output = ()> + Send {
        let Self(span) = self;
        // One that is filtered out must not cut what happens inside off from the caller's.
        let entered = if span.is_disabled() { Span::current() } else { span.clone() };
        task.map(move |ended| {
            #[cfg(feature = "tracing")]
            match ended {
                Ended::Found => span.record("result", "found"),
                Ended::Loaded => span.record("result", "loaded"),
                Ended::Failed(kind) => {
                    span.record("result", "failed").record("error", tracing::field::debug(kind))
                }
            };
            #[cfg(not(feature = "tracing"))]
            drop((ended, span));
        })
        .instrument(entered)
    }
}
