//! Faults without a network: a wrapper that fails, delays and holds what a test selects.

mod cache;
mod faults;
mod operation;

pub use cache::FlakyCache;
pub use faults::{Fault, Faults};
pub use operation::Operation;
