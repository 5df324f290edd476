//! What ours is compared with.

pub(crate) mod map;
pub(crate) mod map_removed;
pub(crate) mod polling;
pub(crate) mod rslock;
