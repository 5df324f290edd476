#![doc = include_str!("../README.md")]

mod builder;
mod engine;
mod keys;
mod service;

pub use builder::{DEFAULT_CAPACITY, DEFAULT_TTL, QuickCacheBuilder};
pub use service::{QuickCacheService, QuickStore};
