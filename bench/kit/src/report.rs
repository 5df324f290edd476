//! The report of a run: everything that the programs have handed on, and which goals it reaches.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::markdown::{markdown, shown};
use crate::{Goal, Machine, Plot, Results, Table, judge, plot};

const INTRODUCTION: &str = "\
Contestants take turns within one run; a figure is the median over the turns, `min` and `max` are the \
fastest and the slowest turn, and `×` is the ratio to the first row. Compare within a table only: \
machines differ, and so does a machine from hour to hour. Differences under 20 % are noise. Where client \
and server share one core, no wake-up of another core hides what the client costs.";

/// A report, ready to be written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// When, such as `2026-11-21`.
    pub date: String,
    /// On what.
    pub machine: Machine,
    /// The figures to reach.
    pub goals: Vec<Goal>,
    /// Everything that was measured.
    pub results: Vec<Results>,
}

/// A report that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A file that cannot be read or written.
    #[error("{}", file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file that is no results of a bench program.
    #[error("{} holds no results of a bench program", file.display())]
    Malformed {
        /// Which.
        file: PathBuf,
        /// What is wrong with it, and where.
        source: serde_json::Error,
    },
    /// A directory without results.
    #[error("no results in {}", directory.display())]
    Nothing {
        /// Which.
        directory: PathBuf,
    },
    /// A plot that cannot be drawn.
    #[error("the plot {plot}")]
    Plot {
        /// Its name.
        plot: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Report {
    /// Of the results in `directory`: all of its files that end in `.json`, in order of their names.
    ///
    /// # Errors
    ///
    /// A file that cannot be read or holds something else; a directory without any.
    pub fn gather(directory: &Path, date: String, machine: Machine) -> Result<Self, ReportError> {
        let mut results = Vec::new();
        for file in files(directory).map_err(|source| in_file(directory, source))? {
            let json = std::fs::read(&file).map_err(|source| in_file(&file, source))?;
            let read = serde_json::from_slice(&json);
            results.push(read.map_err(|source| ReportError::Malformed { file, source })?);
        }
        if results.is_empty() {
            return Err(ReportError::Nothing { directory: directory.to_owned() });
        }
        Ok(Self { date, machine, goals: judge(&results), results })
    }

    /// Writes `report.md`, `report.json` and the plots into `directory`, and removes plots of
    /// another run from it.
    ///
    /// # Errors
    ///
    /// A file that cannot be written, a plot that cannot be drawn.
    pub fn write(&self, directory: &Path) -> Result<(), ReportError> {
        std::fs::create_dir_all(directory).map_err(|source| in_file(directory, source))?;
        for old in files_ending_in(directory, "svg").map_err(|source| in_file(directory, source))? {
            std::fs::remove_file(&old).map_err(|source| in_file(&old, source))?;
        }
        for results in &self.results {
            for plot in &results.plots {
                let name = plot_file(results, plot);
                let svg = plot::lines(plot);
                write(directory, &name, svg.map_err(|source| in_plot(&name, source))?.as_bytes())?;
            }
            for (table, column) in drawn(results) {
                let name = bars_file(results, table);
                let svg = plot::bars(table, column);
                write(directory, &name, svg.map_err(|source| in_plot(&name, source))?.as_bytes())?;
            }
        }
        let json =
            serde_json::to_vec_pretty(self).map_err(|error| in_file(directory, error.into()))?;
        write(directory, "report.json", &json)?;
        write(directory, "report.md", self.markdown().as_bytes())
    }

    /// The report for readers.
    #[must_use]
    pub fn markdown(&self) -> String {
        let Machine { processor, cores, memory_gib, system } = &self.machine;
        let mut text = format!(
            "# Benchmarks\n\n{}, {processor}, {cores} cores, {memory_gib} GiB, {system}.\n\n\
             {INTRODUCTION}\n\n## Figures to reach\n\n| | measured | bound | |\n|---|---:|---:|---|\n",
            self.date
        );
        for Goal { name, measured, bound, holds } in &self.goals {
            let verdict = match (measured, holds) {
                (None, _) => "**not measured**",
                (_, true) => "holds",
                (_, false) => "**missed**",
            };
            line(&mut text, &format!("| {name} | {} | {bound} | {verdict} |", shown(*measured)));
        }
        for results in &self.results {
            line(&mut text, &format!("\n## {}, {}", results.program, results.place));
            for note in &results.notes {
                line(&mut text, &format!("\n{note}"));
            }
            for table in &results.tables {
                line(
                    &mut text,
                    &format!("\n### {}\n\n{}", table.title, markdown(table).trim_end()),
                );
                if table.bars.is_some() {
                    let picture = image(&table.title, &bars_file(results, table));
                    line(&mut text, &format!("\n{picture}"));
                }
            }
            for plot in &results.plots {
                let picture = image(&plot.title, &plot_file(results, plot));
                line(&mut text, &format!("\n### {}\n\n{picture}", plot.title));
            }
            if !results.checked.is_empty() {
                line(&mut text, "\n### Bounds\n\n| | measured | bound | |\n|---|---:|---:|---|");
            }
            for checked in &results.checked {
                let verdict = if checked.holds() { "holds" } else { "**missed**" };
                let (name, measured) = (&checked.name, shown(checked.measured));
                line(
                    &mut text,
                    &format!("| {name} | {measured} | {} | {verdict} |", checked.bound),
                );
            }
        }
        text
    }

    /// What is missed, for a terminal: one line for each goal.
    #[must_use]
    pub fn verdicts(&self) -> String {
        let width =
            self.goals.iter().map(|goal| goal.name.chars().count()).max().unwrap_or_default();
        let mut text = String::new();
        for Goal { name, measured, bound, holds } in &self.goals {
            let verdict = match (measured, holds) {
                (None, _) => "not measured",
                (_, true) => "holds",
                (_, false) => "MISSED",
            };
            let (measured, bound) = (shown(*measured), bound.to_string());
            line(&mut text, &format!("  {name:width$}  {measured:>7}  {bound:>7}  {verdict}"));
        }
        text
    }
}

/// Tables that are drawn, with the column.
fn drawn(results: &Results) -> impl Iterator<Item = (&Table, &str)> {
    results.tables.iter().filter_map(|table| Some((table, table.bars.as_deref()?)))
}

pub(crate) fn bars_file(results: &Results, table: &Table) -> String {
    file_name(&format!("{} {}", table.id, results.place))
}

fn plot_file(results: &Results, plot: &Plot) -> String {
    file_name(&format!("{} {}", plot.id, results.place))
}

/// Letters and digits, with dashes between.
fn file_name(text: &str) -> String {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric());
    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    format!("{}.svg", words.join("-"))
}

fn image(title: &str, file: &str) -> String {
    format!("![{title}]({file})")
}

/// The results, in order of their names.
fn files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = files_ending_in(directory, "json")?;
    files.sort();
    Ok(files)
}

fn files_ending_in(directory: &Path, ending: &str) -> io::Result<Vec<PathBuf>> {
    let entries: io::Result<Vec<_>> = std::fs::read_dir(directory)?.collect();
    let paths = entries?.into_iter().map(|entry| entry.path());
    Ok(paths.filter(|path| path.extension().is_some_and(|found| found == ending)).collect())
}

fn write(directory: &Path, name: &str, bytes: &[u8]) -> Result<(), ReportError> {
    let file = directory.join(name);
    std::fs::write(&file, bytes).map_err(|source| in_file(&file, source))
}

fn in_file(file: &Path, source: io::Error) -> ReportError {
    ReportError::File { file: file.to_owned(), source }
}

fn in_plot(plot: &str, source: Box<dyn std::error::Error + Send + Sync>) -> ReportError {
    ReportError::Plot { plot: plot.to_owned(), source }
}

fn line(text: &mut String, line: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{line}");
}
