//! Warming a cache up: registered loaders, asked in batches for what is not cached yet.
//!
//! Rules:
//!
//! 1. Values come in by [`get_or_load_many`](crate::CacheServiceExt::get_or_load_many) and by nothing
//!    else: a key that is written or removed during its load keeps what was done to it.
//! 2. However many runs are under way, no more batches than `concurrency` are loaded at a time; those
//!    count that go on when nobody waits for them any more.
//! 3. A batch that fails is noted, and the others go on.
//! 4. Every task belongs to the [`Warmer`]: none is left after `shutdown`, or after the last clone is
//!    dropped.

mod builder;
mod loader;
mod progress;
mod run;
mod warmer;

pub use builder::WarmerBuilder;
pub use loader::{WarmLoader, WarmLoaderInfo};
pub use progress::{WarmCause, WarmFailure, WarmProgress, WarmState};
pub use run::WarmRun;
pub use warmer::{Warm, Warmer};
