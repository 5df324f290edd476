#![doc = include_str!("../README.md")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "this is code for tests: a panic is how it says that a test has failed"
)]

mod bus;
pub mod bus_suite;
mod capability;
pub mod concurrency_suite;
mod conformance;
mod flaky;
mod gate;
mod harness;
pub mod history;
mod loads;
pub mod lock_history;
mod mock;
mod poll;
pub mod servers;
pub mod suite;
mod watchdog;

pub use bus::{BusFaults, LocalBus, LocalBusNode, LossyBus};
pub use cache_core::{Clock, ManualClock, Timestamp};
pub use capability::{Capabilities, Capability};
pub use concurrency_suite::{LockCapabilities, LockCapability, LockHarness};
pub use flaky::{Fault, Faults, FlakyCache, Operation};
pub use gate::Gate;
pub use harness::CacheHarness;
pub use loads::{LoadFailed, Loads};
pub use mock::{MockCacheCalls, MockCacheService, MockConcurrencyService};
pub use poll::{drop_after, eventually, eventually_async, let_others_run, poll_once};
pub use servers::{
    Direction, FaultProxy, RedisCluster, RedisClusterBuilder, RedisSentinel, RedisServer,
    RedisServerBuilder, Reply,
};

/// For the macros.
#[doc(hidden)]
pub mod __private {
    use std::future::IntoFuture;

    use crate::CacheHarness;
    use crate::suite::{Behaviour, run};

    pub fn run_named<F, I>(factory: F, name: &str)
    where
        F: Fn() -> I,
        I: IntoFuture<Output = CacheHarness>,
    {
        run(factory, Behaviour::named(name).expect("made from the same list"));
    }
}
