#![doc = include_str!("../README.md")]

mod builder;
mod engine;
mod service;

pub use builder::{DEFAULT_CAPACITY, DEFAULT_TTL, MokaCacheBuilder};
pub use service::{MokaCacheService, MokaStore};
