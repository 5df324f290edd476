//! Invalidation buses without a network, with faults under a seed.

mod faults;
mod line;
mod local;
mod lossy;

pub use faults::BusFaults;
pub use local::{LocalBus, LocalBusNode};
pub use lossy::LossyBus;
