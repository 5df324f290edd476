//! The report of a run: everything that the programs have handed on, and which goals it reaches.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::markdown::{markdown, shown};
use crate::{Elsewhere, Goal, Machine, Plot, Results, Table, judge, plot};

const INTRODUCTION: &str = "\
Contestants take turns within one run, in an order by chance; a figure is the median over the turns, `min` \
and `max` are the fastest and the slowest turn, and `×` is the ratio to the first row: the median of the \
ratios within each round, which need not be the quotient of the two medians. Compare within a table only: \
machines differ, and so does a machine from hour to hour. Differences under 20 % are noise. Where client \
and server share one core, no wake-up of another core hides what the client costs.";

const GOALS: &str = "\
A ratio is the median of the ratios within each round, or for a near hit within each of several processes; \
`range` are the least and the most of them. `elsewhere` is the worst of the same with other numbers of keys \
or other values, by as many threads.";

/// A report, ready to be written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// When, such as `2026-11-21`.
    pub date: String,
    /// Of which commit, such as `1a2b3c4`; with something behind it if files were changed since.
    #[serde(default)]
    pub commit: String,
    /// With what arguments, such as `--trace web`: values and traces differ by them.
    #[serde(default)]
    pub arguments: String,
    /// How long the run took, if that is known.
    #[serde(default)]
    pub seconds: Option<u64>,
    /// On what.
    pub machine: Machine,
    /// The figures to reach.
    pub goals: Vec<Goal>,
    /// Everything that was measured.
    pub results: Vec<Results>,
}

/// Which run a report is of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Run {
    /// The day.
    pub date: String,
    /// The commit.
    pub commit: String,
    /// The arguments.
    pub arguments: String,
    /// How long it took, if that is known.
    pub seconds: Option<u64>,
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
    pub fn gather(directory: &Path, run: Run, machine: Machine) -> Result<Self, ReportError> {
        let Run { date, commit, arguments, seconds } = run;
        let mut results = Vec::new();
        for file in files(directory).map_err(|source| in_file(directory, source))? {
            let json = std::fs::read(&file).map_err(|source| in_file(&file, source))?;
            let read = serde_json::from_slice(&json);
            results.push(read.map_err(|source| ReportError::Malformed { file, source })?);
        }
        if results.is_empty() {
            return Err(ReportError::Nothing { directory: directory.to_owned() });
        }
        let goals = judge(&results);
        Ok(Self { date, commit, arguments, seconds, machine, goals, results })
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
            "# Benchmarks\n\n{}, {processor}, {cores} cores, {memory_gib} GiB, {system}{}.\n\n\
             {INTRODUCTION}\n\n## Figures to reach\n\n{}\n\n{GOALS}\n",
            self.date,
            self.of_what(),
            self.reached()
        );
        let mut group = "";
        for goal in &self.goals {
            if goal.group != group {
                group = &goal.group;
                line(&mut text, &format!("\n### {group}\n\n{GOALS_HEAD}"));
            }
            line(&mut text, &row(goal));
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
                if let Some(note) = &table.note {
                    line(&mut text, &format!("\n{note}"));
                }
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

    /// Which commit, and how long it took.
    fn of_what(&self) -> String {
        let mut text = String::new();
        if !self.commit.is_empty() {
            text = format!("; commit {}", self.commit);
        }
        text = format!("{text}; `{}`", self.command());
        if let Some(seconds) = self.seconds {
            text = format!("{text}, measured in {seconds} s");
        }
        text
    }

    /// What makes such a report.
    pub(crate) fn command(&self) -> String {
        format!("scripts/bench {}", self.arguments).trim_end().to_owned()
    }

    /// How many of how many, in words, and how many of them elsewhere too.
    pub(crate) fn reached(&self) -> String {
        let reached = self.goals.iter().filter(|goal| goal.holds).count();
        let mut text = format!("It reaches {reached} of {} set figures.", self.goals.len());
        let elsewhere = |goal: &&Goal| goal.holds && goal.elsewhere.is_some();
        let both = self.goals.iter().filter(elsewhere);
        let too =
            |goal: &&Goal| goal.elsewhere.as_ref().is_some_and(|at| goal.bound.holds(at.measured));
        let (both, too) = (both.clone().count(), both.filter(too).count());
        if both > 0 {
            let _ = write!(
                text,
                " Of these, {both} were measured with other numbers of keys or other values as well: \
                 {too} hold with all of them."
            );
        }
        text
    }

    /// What is missed, for a terminal: one line for each goal.
    #[must_use]
    pub fn verdicts(&self) -> String {
        let width =
            self.goals.iter().map(|goal| goal.name.chars().count()).max().unwrap_or_default();
        let mut text = String::new();
        for Goal { name, measured, bound, holds, .. } in &self.goals {
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

const GOALS_HEAD: &str =
    "| | measured | range | bound | | elsewhere |\n|---|---:|---:|---:|---|---|";

fn row(goal: &Goal) -> String {
    let Goal { name, measured, range, elsewhere, bound, holds, .. } = goal;
    let verdict = match (measured, holds) {
        (None, _) => "**not measured**",
        (_, true) => "holds",
        (_, false) => "**missed**",
    };
    let range = range.map(|(least, most)| format!("{}–{}", shown(Some(least)), shown(Some(most))));
    let elsewhere = elsewhere.as_ref().map(|Elsewhere { measured, at }| {
        let misses = if bound.holds(*measured) { "" } else { ", misses" };
        format!("{} ({at}){misses}", shown(Some(*measured)))
    });
    let [range, elsewhere] = [range, elsewhere].map(Option::unwrap_or_default);
    format!("| {name} | {} | {range} | {bound} | {verdict} | {elsewhere} |", shown(*measured))
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
