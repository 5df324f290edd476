//! The future of [`get_arc`](crate::CacheServiceExt::get_arc).

use std::any::TypeId;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use serde::de::DeserializeOwned;

use crate::ext::{Shared, held};
use crate::{CacheService, Timestamp};

/// Reads one value. Written by hand, since a hit is a few nanoseconds and no `async fn` can be told to be
/// inlined where it is awaited.
pub(crate) struct Reading<'s, 'k, S: ?Sized, T, M, F> {
    cache: &'s S,
    key: &'k str,
    fetch: M,
    /// What `fetch` makes, which a hit has no need of.
    fetching: Option<Pin<Box<F>>>,
    values: PhantomData<fn() -> T>,
}

impl<'s, 'k, S, T, M, F> Reading<'s, 'k, S, T, M, F>
where
    S: CacheService + ?Sized,
    T: DeserializeOwned + Send + Sync + 'static,
    M: Fn(&'s S, &'k str) -> F + Unpin,
    F: Future<Output = Shared<T>>,
{
    /// What this process holds under `key`, or else what `fetch` finds.
    #[inline]
    pub(crate) fn new(cache: &'s S, key: &'k str, fetch: M) -> Self {
        Self { cache, key, fetch, fetching: None, values: PhantomData }
    }

    /// Of what is not at hand.
    #[inline(never)]
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<Shared<T>> {
        let (cache, key) = (self.cache, self.key);
        if self.fetching.is_none()
            && let Some(value) = held(cache, key, || cache.peek(key))
        {
            return Poll::Ready(value);
        }
        let fetch = || Box::pin((self.fetch)(cache, key));
        self.fetching.get_or_insert_with(fetch).as_mut().poll(cx)
    }
}

impl<'s, 'k, S, T, M, F> Future for Reading<'s, 'k, S, T, M, F>
where
    S: CacheService + ?Sized,
    T: DeserializeOwned + Send + Sync + 'static,
    M: Fn(&'s S, &'k str) -> F + Unpin,
    F: Future<Output = Shared<T>>,
{
    type Output = Shared<T>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Shared<T>> {
        let this = self.get_mut();
        if this.fetching.is_none()
            && let Some(value) = at_hand(this.cache, this.key)
        {
            return Poll::Ready(Ok(Some(value)));
        }
        this.poll_rest(cx)
    }
}

/// The value under `key`, if the store has it at hand decoded as a `T`.
#[inline]
pub(crate) fn at_hand<S, T>(cache: &S, key: &str) -> Option<Arc<T>>
where
    S: CacheService + ?Sized,
    T: Send + Sync + 'static,
{
    cache.peek_value(key, TypeId::of::<T>(), Timestamp::MAX)?.downcast().ok()
}
