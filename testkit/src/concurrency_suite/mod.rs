//! The lock contract as tests: one behaviour, one function, one `#[test]`, for any backend.
//!
//! ```
//! # // The backend is a stand-in: this shows the shape, `cargo test` runs what the macro makes.
//! # mod my_locks {
//! #     pub type MyLocks = std::sync::Arc<dyn cache_core::ConcurrencyService>;
//! #     pub async fn connect() -> MyLocks { unimplemented!() }
//! # }
//! mod conformance {
//!     use cache_testkit::concurrency_suite::LockHarness;
//!
//!     cache_testkit::concurrency_conformance!(|| async {
//!         LockHarness::new(super::my_locks::connect().await)
//!     });
//! }
//! ```

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "behaviours are the bodies of tests: they fail by panicking"
)]

mod admin;
mod another;
mod fences;
mod harness;
mod leases;
mod macros;
mod queue;
mod refresh;
mod sections;

pub use admin::*;
pub use another::*;
pub use fences::*;
pub use harness::{
    LockCapabilities, LockCapability, LockHarness, check_lock_capabilities, run_lock_behaviour,
};
pub use leases::*;
pub use queue::*;
pub use refresh::*;
pub use sections::*;
