//! Named locks: the contract, and what a caller holds.
//!
//! - `service.rs`: [`ConcurrencyService`], what a backend implements;
//! - `ext.rs`: [`ConcurrencyServiceExt`], what callers use, over `section.rs`, which runs the
//!   section under its lease, and `chain.rs`, which finds a task that waits for itself;
//! - `lease.rs`: [`LockLease`], the cell in which a backend says how long a lock is held;
//! - `guard.rs`: [`LockGuard`] and [`HeldLock`], the two views of it;
//! - `trace.rs`: the spans of waiting for a lock and of holding it, with the feature `tracing`.

mod chain;
mod error;
mod ext;
mod guard;
mod info;
mod lease;
mod options;
mod section;
mod service;
#[cfg(feature = "tracing")]
mod trace;

pub use error::{LockError, LockErrorKind, check_lock_key};
pub use ext::ConcurrencyServiceExt;
pub use guard::{HeldLock, LockGuard, LockRelease, LockReleasing};
pub use info::{FencingToken, LockInfo};
pub use lease::LockLease;
pub use options::LockOptions;
pub use service::ConcurrencyService;
#[cfg(feature = "tracing")]
pub use trace::{trace_acquire, trace_try_acquire};
