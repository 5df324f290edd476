//! Puts load on instances of tenant-service.

// A program talks to whoever runs it.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;

use tenant_service::load::{Asked, HELP, LoadArgs, run};

#[tokio::main]
async fn main() -> ExitCode {
    let variable = |name: &str| std::env::var(name).ok();
    let args = match LoadArgs::parse(std::env::args_os().skip(1), variable) {
        Ok(Asked::Run(args)) => *args,
        Ok(Asked::Help) => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("error: {error} (--help says what there is)");
            return ExitCode::from(2);
        }
    };
    match run(args).await {
        Ok(report) => {
            print!("{report}");
            if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
