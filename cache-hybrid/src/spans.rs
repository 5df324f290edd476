//! The spans of what is asked of the far tier, with the feature `tracing`.

use std::future::Future;

#[cfg(feature = "tracing")]
use cache_core::CacheError;
use cache_core::Selector;

use crate::inner::Terms;

/// An operation of the far tier, as a span tells of it.
#[derive(Clone, Copy)]
#[cfg_attr(not(feature = "tracing"), allow(dead_code, reason = "there are no spans"))]
pub(crate) struct Asked<'a> {
    operation: &'static str,
    what: What<'a>,
}

#[derive(Clone, Copy)]
#[cfg_attr(not(feature = "tracing"), allow(dead_code, reason = "there are no spans"))]
enum What<'a> {
    Key(&'a str),
    Keys(usize),
    Selected(&'a Selector),
}

impl<'a> Asked<'a> {
    pub(crate) fn key(operation: &'static str, key: &'a str) -> Self {
        Self { operation, what: What::Key(key) }
    }

    pub(crate) fn keys(operation: &'static str, count: usize) -> Self {
        Self { operation, what: What::Keys(count) }
    }

    pub(crate) fn selected(operation: &'static str, what: &'a Selector) -> Self {
        Self { operation, what: What::Selected(what) }
    }
}

#[cfg(feature = "tracing")]
impl Terms {
    /// Runs `call` in a span of its own.
    pub(crate) fn spanned<T, F>(
        self,
        asked: Asked<'_>,
        call: F,
    ) -> impl Future<Output = Result<T, CacheError>> + use<T, F>
    where
        F: Future<Output = Result<T, CacheError>>,
    {
        use tracing::Instrument;
        use tracing::field::debug;

        let span = self.far_span(asked);
        async move {
            let answer = call.instrument(span.clone()).await;
            match &answer {
                Ok(_) => span.record("result", "ok"),
                Err(error) => span.record("result", "failed").record("error", debug(error.kind())),
            };
            answer
        }
    }

    fn far_span(self, Asked { operation, what }: Asked<'_>) -> tracing::Span {
        use tracing::field::{Empty, display};

        let span = tracing::info_span!(
            "cache.far",
            operation,
            key = Empty,
            keys = Empty,
            prefix = Empty,
            result = Empty,
            error = Empty
        );
        let show = |text| display(self.traced_keys.show(text));
        match what {
            What::Key(key) => span.record("key", show(key)),
            What::Keys(count) => span.record("keys", count),
            What::Selected(Selector::Keys(keys)) => match keys.as_slice() {
                [key] => span.record("key", show(key)),
                keys => span.record("keys", keys.len()),
            },
            What::Selected(Selector::Prefix(prefix)) => span.record("prefix", show(prefix)),
            // Everything.
            What::Selected(_) => span.record("prefix", ""),
        };
        span
    }
}

#[cfg(not(feature = "tracing"))]
impl Terms {
    /// The call: there are no spans.
    #[inline(always)]
    pub(crate) fn spanned<F: Future>(self, _asked: Asked<'_>, call: F) -> F {
        call
    }
}
