//! Loaders that count how often they are called.

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::Gate;

type Load<T> = Pin<Box<dyn Future<Output = Result<T, LoadFailed>> + Send + 'static>>;

/// Makes loaders for `get_or_load*` and counts the calls of all of them. Clones are one counter.
///
/// ```
/// use cache_core::{CacheError, CacheService, CacheServiceExt};
/// use cache_testkit::Loads;
///
/// async fn loads_once(cache: &dyn CacheService) -> Result<(), CacheError> {
///     let loads = Loads::new();
///     cache.get_or_load("org:acme", None, loads.returning(7)).await?;
///     cache.get_or_load("org:acme", None, loads.returning(8)).await?;
///     assert_eq!(loads.count(), 1);
///     Ok(())
/// }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Loads(Arc<AtomicUsize>);

impl Loads {
    /// A counter at 0.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many of the loaders have been called.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    fn called(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    /// A loader that returns `value`.
    pub fn returning<T: Send + 'static>(
        &self,
        value: T,
    ) -> impl FnOnce() -> Load<T> + Send + use<T> {
        let loads = self.clone();
        move || {
            loads.called();
            Box::pin(async move { Ok(value) })
        }
    }

    /// A loader that waits at `gate` and then returns `value`.
    pub fn gated<T: Send + 'static>(
        &self,
        gate: &Gate,
        value: T,
    ) -> impl FnOnce() -> Load<T> + Send + use<T> {
        let (loads, gate) = (self.clone(), gate.clone());
        move || {
            loads.called();
            Box::pin(async move {
                gate.pass().await;
                Ok(value)
            })
        }
    }

    /// A loader that fails with [`LoadFailed`] saying `message`.
    pub fn failing<T: Send + 'static>(
        &self,
        message: &'static str,
    ) -> impl FnOnce() -> Load<T> + Send + use<T> {
        let loads = self.clone();
        move || {
            loads.called();
            Box::pin(async move { Err(LoadFailed(message)) })
        }
    }

    /// A loader that waits at `gate` and then fails with [`LoadFailed`] saying `message`.
    pub fn failing_after<T: Send + 'static>(
        &self,
        gate: &Gate,
        message: &'static str,
    ) -> impl FnOnce() -> Load<T> + Send + use<T> {
        let (loads, gate) = (self.clone(), gate.clone());
        move || {
            loads.called();
            Box::pin(async move {
                gate.pass().await;
                Err(LoadFailed(message))
            })
        }
    }

    /// A loader that never returns.
    pub fn hanging<T: Send + 'static>(&self) -> impl FnOnce() -> Load<T> + Send + use<T> {
        let loads = self.clone();
        move || {
            loads.called();
            Box::pin(std::future::pending())
        }
    }

    /// A loader for `get_or_load_many` that makes each value with `value`; keys for which that
    /// gives `None` are left out.
    pub fn many<T: Send + 'static, V: FnMut(&str) -> Option<T> + Send + 'static>(
        &self,
        mut value: V,
    ) -> impl FnOnce(Vec<String>) -> Load<HashMap<String, T>> + Send + use<T, V> {
        let loads = self.clone();
        move |keys| {
            loads.called();
            let found = keys.into_iter().filter_map(|key| value(&key).map(|value| (key, value)));
            let found = found.collect();
            Box::pin(async move { Ok(found) })
        }
    }

    /// As [`many`](Self::many), after waiting at `gate`.
    pub fn many_gated<T: Send + 'static, V: FnMut(&str) -> Option<T> + Send + 'static>(
        &self,
        gate: &Gate,
        mut value: V,
    ) -> impl FnOnce(Vec<String>) -> Load<HashMap<String, T>> + Send + use<T, V> {
        let (loads, gate) = (self.clone(), gate.clone());
        move |keys| {
            loads.called();
            Box::pin(async move {
                gate.pass().await;
                let found =
                    keys.into_iter().filter_map(|key| value(&key).map(|value| (key, value)));
                Ok(found.collect())
            })
        }
    }
}

/// The error of the failing loaders: [`CacheError::loader_error`](cache_core::CacheError::loader_error)
/// finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadFailed(
    /// What the loader was told to say.
    pub &'static str,
);

impl fmt::Display for LoadFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Error for LoadFailed {}
