//! Looks whether traces can be read, before anything is measured: `bench-traces FILE...`.

#![allow(clippy::print_stderr, reason = "a program that reports")]

use std::path::Path;
use std::process::ExitCode;

use cache_bench_kit::{Trace, with_sources};

fn main() -> ExitCode {
    let mut all = ExitCode::SUCCESS;
    for file in std::env::args_os().skip(1) {
        if let Err(error) = Trace::read(Path::new(&file)) {
            eprintln!("{}", with_sources(&error));
            all = ExitCode::FAILURE;
        }
    }
    all
}
