//! Makes the report of a run: `bench-report RESULTS REPORT README DATE COMMIT ARGUMENTS SECONDS`, two
//! directories, the file that shows some of the figures, and which run it was: the day, the commit, with
//! what arguments, how long it took.

#![allow(clippy::print_stdout, reason = "a program that reports")]

use std::path::Path;

use cache_bench_kit::{Machine, Report, Run, readme, with_sources};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [results, report, shows, date, commit, asked, seconds] = arguments.as_slice() else {
        return Err(
            "usage: bench-report RESULTS REPORT README DATE COMMIT ARGUMENTS SECONDS".into()
        );
    };
    let seconds = Some(seconds.parse()?);
    let (date, commit, arguments) = (date.clone(), commit.clone(), asked.clone());
    let run = Run { date, commit, arguments, seconds };
    let made = Report::gather(Path::new(results), run, Machine::this());
    let made = made.map_err(|error| with_sources(&error))?;
    made.write(Path::new(report)).map_err(|error| with_sources(&error))?;
    match readme(&std::fs::read_to_string(shows)?, &made) {
        Some(text) => std::fs::write(shows, text)?,
        None => println!("{shows} is as it was: the run was without the figures that it shows"),
    }
    println!("{}", made.verdicts());
    println!("{report}/report.md");
    Ok(())
}
