//! A multi-tenant service in small: what it costs to look tenants up, without a cache and with.
//!
//! Start reading at `service.rs`, the part that a real service would have; `role_change.rs` and
//! `token_refresh.rs` show the two situations in which caches and locks usually go wrong. The rest
//! is the database, the workload and the measuring.
//!
//! With `--instances` several instances of the service do the same together, over one Redis:
//! `fleet.rs`.

// A program talks to whoever runs it.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod args;
mod database;
mod directory;
mod fleet;
mod fleet_report;
mod format;
mod measure;
mod one_load;
mod propagation;
mod report;
mod role_change;
mod seed;
mod service;
mod token_refresh;
mod workload;

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use crate::args::{Args, Asked};
use crate::database::Database;
use crate::directory::Directory;
use crate::fleet::Fleet;
use crate::fleet_report::FleetReport;
use crate::format::{count, duration};
use crate::measure::{Route, measure};
use crate::workload::Workload;

/// Any error; the program only prints them.
pub(crate) type AnyError = Box<dyn Error + Send + Sync>;

/// Lookups of the run without cache at most: enough to see what one costs.
const UNCACHED_LOOKUPS: usize = 20_000;

fn main() -> ExitCode {
    let args = match Args::parse(std::env::args_os().skip(1)) {
        Ok(Asked::Run(args)) => args,
        Ok(Asked::Help) => {
            println!("{}", args::HELP);
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("error: {error} (--help says what there is)");
            return ExitCode::from(2);
        }
    };
    // Before anything else, so that a wrong path is told at once.
    let workload = match Workload::from_args(&args) {
        Ok(workload) => workload,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(2);
        }
    };
    match run(&args, &workload) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            let mut source = error.source();
            while let Some(cause) = source {
                eprintln!("  because: {cause}");
                source = cause.source();
            }
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(args: &Args, workload: &Workload) -> Result<(), AnyError> {
    let services = fleet::connect(args.instances).await?;

    let start = Instant::now();
    let (database, directory) = Database::create(args.seed).await?;
    let (database, directory) = (Arc::new(database), Arc::new(directory));
    println!(
        "{} organisations, {} users and their roles in SQLite, made in {}",
        count(directory.len() as u64),
        count(directory.users()),
        duration(start.elapsed()),
    );
    let fleet = Fleet::new(services, database);
    let shown = show(&fleet, &directory, workload).await;
    let ended = fleet.shutdown().await;
    shown?;
    ended?;
    println!("All checks passed.");
    Ok(())
}

/// Measures, and checks what is promised.
async fn show(
    fleet: &Fleet,
    directory: &Arc<Directory>,
    workload: &Workload,
) -> Result<(), AnyError> {
    let several = fleet.len() > 1;
    let asked = if several { format!(" of {} instances", fleet.len()) } else { String::new() };
    println!(
        "{} tasks{asked} look tenants up by slug, host and UUID: {}\n",
        measure::TASKS,
        workload.name
    );
    let few = workload.first(UNCACHED_LOOKUPS);
    let without = measure(Route::Database, fleet, directory, &few).await?;
    let mut parts = FleetReport::start(fleet);
    let with = measure(Route::Cache, fleet, directory, workload).await?;
    parts.part("lookups", fleet);
    report::print(&without, &with, &fleet.stats());

    println!("\nEvery one of these lookups returned the organisation that was asked for.");
    if several {
        one_load::check(&with, workload, fleet)?;
    }
    role_change::demonstrate(fleet, directory).await?;
    parts.part("role changes", fleet);
    token_refresh::demonstrate(fleet).await?;
    parts.part("token refresh", fleet);
    if several {
        let propagation = propagation::measure(fleet, directory).await?;
        parts.part("propagation", fleet);
        parts.print(fleet, &propagation);
    }
    Ok(())
}
