#![doc = include_str!("../README.md")]

/// So that what stands there compiles.
#[cfg(doctest)]
#[doc = include_str!("../../docs/read-through.md")]
mod page {}

mod bus;
mod clock;
#[cfg(feature = "metrics")]
mod durations;
mod entry;
mod error;
mod ext;
mod forward;
mod key;
mod lease;
mod loader;
mod lock;
mod manual_clock;
pub mod memory;
mod policy;
mod read_through;
mod reading;
mod selector;
mod service;
mod stats;
mod store;
mod sync;
mod traced;
#[cfg(feature = "metrics")]
mod turns;
mod typed;
mod warm;

pub use futures_core::future::BoxFuture;
pub use futures_core::stream::BoxStream;

pub use bus::{BusDeadline, BusEvent, InvalidationBus};
pub use clock::{Clock, Timestamp};
#[cfg(feature = "metrics")]
pub use durations::{Durations, Histogram};
pub use entry::Entry;
pub use error::{CacheError, ErrorKind, in_words};
pub use ext::CacheServiceExt;
pub use key::{MAX_KEY_BYTES, check_key};
pub use lease::{Lease, LeaseOutcome};
pub use loader::{Loader, ManyLoader};
pub use lock::{
    ConcurrencyService, ConcurrencyServiceExt, FencingToken, HeldLock, LockError, LockErrorKind,
    LockGuard, LockInfo, LockLease, LockOptions, LockRelease, LockReleasing, check_lock_key,
};
#[cfg(feature = "tracing")]
pub use lock::{trace_acquire, trace_try_acquire};
pub use manual_clock::ManualClock;
pub use policy::Policy;
#[cfg(feature = "metrics")]
pub use read_through::EngineTimes;
pub use read_through::{ReadThrough, ReadThroughBuilder};
pub use selector::Selector;
pub use service::CacheService;
pub use stats::CacheStats;
pub use store::{CacheStore, RemovalListener};
pub use traced::TracedKeys;
#[cfg(feature = "metrics")]
pub use turns::Turns;
pub use typed::TypedCache;
pub use warm::{
    Warm, WarmCause, WarmFailure, WarmLoader, WarmLoaderInfo, WarmProgress, WarmRun, WarmState,
    Warmer, WarmerBuilder,
};
