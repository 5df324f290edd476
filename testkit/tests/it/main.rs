//! The testkit tested: mocks, faults, and the suite on backends that are right and wrong.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "all of it is tests, helpers included"
)]

mod backend;
mod backends;
mod capabilities;
mod faults;
mod faulty_bus;
mod flaky_store;
mod histories;
mod history_checker;
mod history_journal;
mod list;
mod local_bus;
mod lock_history;
mod mocks;
mod planted_bugs;
mod real_time;
mod toy_hybrid;
mod user_backend;
mod watchdog;
