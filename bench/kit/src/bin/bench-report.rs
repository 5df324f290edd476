//! Makes the report of a run: `bench-report RESULTS REPORT README DATE COMMIT SECONDS`, two directories, the
//! file that shows some of the figures, and which run it was: the day, the commit, how long it took.

#![allow(clippy::print_stdout, reason = "a program that reports")]

use std::path::Path;

use cache_bench_kit::{Machine, Report, Run, readme};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [results, report, shows, date, commit, seconds] = arguments.as_slice() else {
        return Err("usage: bench-report RESULTS REPORT README DATE COMMIT SECONDS".into());
    };
    let seconds = Some(seconds.parse()?);
    let run = Run { date: date.clone(), commit: commit.clone(), seconds };
    let made = Report::gather(Path::new(results), run, Machine::this());
    let made = made.map_err(whole)?;
    made.write(Path::new(report)).map_err(whole)?;
    match readme(&std::fs::read_to_string(shows)?, &made) {
        Some(text) => std::fs::write(shows, text)?,
        None => println!("{shows} is as it was: the run was without the figures that it shows"),
    }
    println!("{}", made.verdicts());
    println!("{report}/report.md");
    Ok(())
}

/// With what stands behind it.
fn whole(error: impl std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
