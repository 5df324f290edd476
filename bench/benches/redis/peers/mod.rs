//! The Redis reads of other crates, each as its own documentation has it, at its best setting.
//!
//! `cachet` has no Redis tier. What people write by hand is the raw client and JSON.

pub(crate) mod cached;
pub(crate) mod fred;
pub(crate) mod hitbox;
pub(crate) mod multi_tier_cache;
