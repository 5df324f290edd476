//! The Redis reads of other crates, each as its own documentation has it, at its best setting.

pub(crate) mod cached;
pub(crate) mod hitbox;
pub(crate) mod multi_tier_cache;
