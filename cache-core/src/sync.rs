//! The mutex of what is model-checked: the tests of `tests/model` put another one here.

pub(crate) use parking_lot::Mutex;
