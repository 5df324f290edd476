//! `tenant-load`: requests that come when they are due, whether or not the service keeps up, and what
//! became of each.

mod args;
mod freshness;
mod plan;
mod report;
mod run;

pub use args::{ArgsError, Asked, HELP, LoadArgs, Reads, Target};
pub use report::{Failures, Report};
pub use run::{LoadError, run};
