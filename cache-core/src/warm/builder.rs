//! How a [`Warmer`] is put together.

use std::sync::Arc;
use std::time::Duration;

use super::loader::WarmLoader;
use super::warmer::Warmer;
use crate::{CacheError, CacheService, Clock, ErrorKind};

const BATCH_SIZE: usize = 100;
const CONCURRENCY: usize = 4;

/// Makes a [`Warmer`].
#[derive(Debug)]
#[must_use = "nothing is made before `build`"]
pub struct WarmerBuilder {
    pub(super) cache: Arc<dyn CacheService>,
    pub(super) clock: Clock,
    pub(super) loaders: Vec<WarmLoader>,
    pub(super) batch_size: usize,
    pub(super) concurrency: usize,
}

impl WarmerBuilder {
    pub(super) fn new(cache: Arc<dyn CacheService>) -> Self {
        let clock = cache.clock();
        let (batch_size, concurrency) = (BATCH_SIZE, CONCURRENCY);
        Self { cache, clock, loaders: Vec::new(), batch_size, concurrency }
    }

    /// Registers a loader.
    pub fn loader(mut self, loader: WarmLoader) -> Self {
        self.loaders.push(loader);
        self
    }

    /// How many keys a loader is given at a time, at least 1: 100 unless said otherwise.
    pub fn batch_size(mut self, keys: usize) -> Self {
        self.batch_size = keys;
        self
    }

    /// How many batches are loaded at a time by all runs together, at least 1: 4 unless said
    /// otherwise. A load that goes on after its run was cancelled, or in the background of what is
    /// served meanwhile, is one of them until it ends.
    pub fn concurrency(mut self, batches: usize) -> Self {
        self.concurrency = batches;
        self
    }

    /// The clock of schedules, of how long a listing of keys may take, and of when runs began and
    /// ended: the cache's unless said otherwise. What is loaded lives by the cache's in any case.
    pub fn clock(mut self, clock: impl Into<Clock>) -> Self {
        self.clock = clock.into();
        self
    }

    /// The warmer. It does nothing until it is started or asked.
    ///
    /// # Errors
    ///
    /// [`Config`](ErrorKind::Config) for a batch size or concurrency of 0, two loaders with the same
    /// name or prefix, an interval under 1 ms, and a schedule without keys to warm.
    pub fn build(self) -> Result<Warmer, CacheError> {
        let config = |message: String| Err(CacheError::new(ErrorKind::Config, message));
        if self.batch_size == 0 || self.concurrency == 0 {
            return config("a warmer needs a batch size and a concurrency of at least 1".into());
        }
        for (at, loader) in self.loaders.iter().enumerate() {
            let WarmLoader { name, prefix, every, .. } = loader;
            if self.loaders[..at].iter().any(|other| other.name == *name) {
                return config(format!("two warm-up loaders are named {name:?}"));
            }
            if self.loaders[..at].iter().any(|other| other.prefix == *prefix) {
                return config(format!("two warm-up loaders have the prefix {prefix:?}"));
            }
            match every {
                Some(every) if *every < Duration::from_millis(1) => {
                    return config(format!(
                        "{name:?} is to be warmed every {every:?}: at least 1 ms"
                    ));
                }
                Some(_) if !loader.lists_keys() => {
                    return config(format!(
                        "{name:?} has a schedule, but does not say for which keys"
                    ));
                }
                _ => {}
            }
        }
        Ok(Warmer::new(self))
    }
}
