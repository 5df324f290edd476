//! The lease scripts on a real server, branch by branch.

#![allow(
    dead_code,
    unused_imports,
    clippy::expect_used,
    reason = "included source; test code, also outside of test functions"
)]

#[path = "../../src/script/mod.rs"]
mod script;
#[path = "../../src/wire/mod.rs"]
mod wire;

mod fill;
mod fixture;
mod lease;
mod repair;
mod wake;
mod write;
