//! The future of [`get_arc`](crate::CacheServiceExt::get_arc) and of both ways to load one key.

use std::any::TypeId;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use serde::de::DeserializeOwned;

use crate::ext::{Shared, held};
use crate::{CacheError, CacheService, Entry, Policy, Timestamp};

/// What of a value that this process holds will do.
pub(crate) trait Wish {
    /// Whether every fresh value will: none has to be looked at for its age.
    fn takes_any(&self) -> bool;
    /// The entry that will do, if this process holds it; `absent`: one that says so, too.
    fn find<S>(&self, cache: &S, key: &str, absent: bool) -> Option<Entry>
    where
        S: CacheService + ?Sized;
}

/// Any fresh one.
pub(crate) struct Any;

impl Wish for Any {
    #[inline]
    fn takes_any(&self) -> bool {
        true
    }

    fn find<S>(&self, cache: &S, key: &str, absent: bool) -> Option<Entry>
    where
        S: CacheService + ?Sized,
    {
        cache.peek(key).filter(|entry| absent || !entry.is_absent())
    }
}

/// One that spares the policy's load.
impl Wish for Policy {
    #[inline]
    fn takes_any(&self) -> bool {
        !self.refreshes_ahead()
    }

    fn find<S>(&self, cache: &S, key: &str, absent: bool) -> Option<Entry>
    where
        S: CacheService + ?Sized,
    {
        if absent { cache.peek_for(key, self) } else { cache.peek_value_for(key, self) }
    }
}

/// What a caller is told of a shared value that may not be there.
pub(crate) trait Answer<T>: Sized {
    /// Whether "there is none" is an answer.
    const TAKES_ABSENT: bool;
    fn of(value: Option<Arc<T>>, key: &str) -> Result<Self, CacheError>;
}

impl<T> Answer<T> for Option<Arc<T>> {
    const TAKES_ABSENT: bool = true;

    #[inline]
    fn of(value: Self, _key: &str) -> Result<Self, CacheError> {
        Ok(value)
    }
}

impl<T> Answer<T> for Arc<T> {
    const TAKES_ABSENT: bool = false;

    #[inline]
    fn of(value: Option<Self>, key: &str) -> Result<Self, CacheError> {
        value.ok_or_else(|| crate::ext::absent(key))
    }
}

/// Reads one value. Written by hand, since a hit is a few nanoseconds and no `async fn` can be told to be
/// inlined where it is awaited: its key would be written to memory and read back at once, in pieces, which
/// on some processors and for some places of the future takes as long as the rest of the hit.
pub(crate) struct Reading<'s, 'k, S: ?Sized, T, A, W, M, F> {
    cache: &'s S,
    key: &'k str,
    /// What makes `fetching`, until it has.
    begun: Option<(W, M)>,
    /// What a hit has no need of.
    fetching: Option<Pin<Box<F>>>,
    values: PhantomData<fn() -> (T, A)>,
}

// Nothing in it is pinned but what `fetching` holds.
impl<S: ?Sized, T, A, W, M, F> Unpin for Reading<'_, '_, S, T, A, W, M, F> {}

impl<'s, 'k, S, T, A, W, M, F> Reading<'s, 'k, S, T, A, W, M, F>
where
    S: CacheService + ?Sized,
    T: DeserializeOwned + Send + Sync + 'static,
    A: Answer<T>,
    W: Wish,
    M: FnOnce(&'s S, &'k str, W) -> F,
    F: Future<Output = Shared<T>>,
{
    /// What this process holds under `key` and will do, or else what `fetch` finds.
    #[inline]
    pub(crate) fn new(cache: &'s S, key: &'k str, wish: W, fetch: M) -> Self {
        Self { cache, key, begun: Some((wish, fetch)), fetching: None, values: PhantomData }
    }

    /// Of what is not at hand.
    #[inline(never)]
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<Result<A, CacheError>> {
        let (cache, key) = (self.cache, self.key);
        if let Some((wish, fetch)) = self.begun.take() {
            if let Some(value) = held(cache, key, || wish.find(cache, key, A::TAKES_ABSENT)) {
                return Poll::Ready(value.and_then(|value| A::of(value, key)));
            }
            self.fetching = Some(Box::pin(fetch(cache, key, wish)));
        }
        let Some(fetching) = &mut self.fetching else { return Poll::Pending };
        fetching.as_mut().poll(cx).map(|value| value.and_then(|value| A::of(value, key)))
    }
}

impl<'s, 'k, S, T, A, W, M, F> Future for Reading<'s, 'k, S, T, A, W, M, F>
where
    S: CacheService + ?Sized,
    T: DeserializeOwned + Send + Sync + 'static,
    A: Answer<T>,
    W: Wish,
    M: FnOnce(&'s S, &'k str, W) -> F,
    F: Future<Output = Shared<T>>,
{
    type Output = Result<A, CacheError>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if let Some((wish, _)) = &this.begun
            && wish.takes_any()
            && let Some(value) = at_hand(this.cache, this.key)
        {
            return Poll::Ready(A::of(Some(value), this.key));
        }
        this.poll_rest(cx)
    }
}

/// The value under `key`, if the store has it at hand decoded as a `T`.
#[inline]
fn at_hand<S, T>(cache: &S, key: &str) -> Option<Arc<T>>
where
    S: CacheService + ?Sized,
    T: Send + Sync + 'static,
{
    cache.peek_value(key, TypeId::of::<T>(), Timestamp::MAX)?.downcast().ok()
}
