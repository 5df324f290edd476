//! The mutex of the shards. On its own so that the model test can put a checked one here.

pub(crate) use parking_lot::Mutex;
