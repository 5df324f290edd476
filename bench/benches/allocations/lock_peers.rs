//! Those of `locks` that are in the process.

#[path = "../locks/peers/map.rs"]
pub(crate) mod map;
#[path = "../locks/peers/map_removed.rs"]
pub(crate) mod map_removed;
