//! The behaviours that every [`InvalidationBus`](cache_core::InvalidationBus) has: one function each.
//!
//! [`bus_conformance!`](crate::bus_conformance) makes a `#[test]` of every one. Each can also be called
//! by itself, with two ends of a bus of its own. They panic if the bus misbehaves.

mod behaviours;
mod harness;
mod heard;
mod macros;

pub use behaviours::*;
pub use harness::{BusHarness, run_bus_behaviour};
