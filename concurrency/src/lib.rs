#![doc = include_str!("../README.md")]

mod builder;
mod fence;
mod service;
mod shard;
mod state;
mod sync;
mod waiting;

pub use builder::LocalConcurrencyBuilder;
pub use service::LocalConcurrencyService;
