//! The service as its callers see it: real instances, real HTTP, a real Redis where there is one.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail the test, as the tests themselves do"
)]

mod admin;
mod bad_input;
mod changes;
mod configuration;
mod fleet;
mod load;
mod outage;
mod process;
mod reload;
mod resolve;
mod session;
mod shadow;
mod tokens;
