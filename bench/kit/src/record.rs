//! Keeps what a bench program measures, shows it, and writes it down at the end.

#![allow(clippy::print_stdout, reason = "a benchmark reports on standard output")]

use std::cell::RefCell;
use std::path::PathBuf;

use crate::markdown::padded;
use crate::results::rounded;
use crate::{Arguments, Bound, Checked, Plot, Results, Table};

/// Names the directory for results.
const RESULTS: &str = "BENCH_RESULTS";

/// The results of this run.
#[derive(Debug)]
pub struct Recorder {
    results: RefCell<Results>,
    /// Where they go, if anybody wants them.
    file: Option<PathBuf>,
}

impl Recorder {
    /// For a run of `program`, with nothing in it so far.
    #[must_use]
    pub fn new(program: &str, arguments: &Arguments) -> Self {
        let place = arguments.place().to_owned();
        let name = format!("{program}, {place}.json");
        let file = std::env::var_os(RESULTS).map(|directory| PathBuf::from(directory).join(name));
        println!("\n== {program}, {place} ==");
        let results = Results { program: program.to_owned(), place, ..Results::default() };
        Self { results: RefCell::new(results), file }
    }

    /// One more table.
    pub fn table(&self, table: Table) {
        println!("\n{}\n{}", table.title, padded(&table));
        self.results.borrow_mut().tables.push(table);
    }

    /// One more plot.
    pub fn plot(&self, plot: Plot) {
        self.results.borrow_mut().plots.push(plot);
    }

    /// Whether `measured` keeps to `bound`.
    pub fn bounded(&self, name: &str, measured: f64, bound: Bound) {
        let checked = Checked { name: name.to_owned(), measured: rounded(measured), bound };
        let verdict = if checked.holds() { "holds" } else { "MISSED" };
        println!("  {name:<40} {measured:>8.2}   bound {bound}: {verdict}");
        self.results.borrow_mut().checked.push(checked);
    }

    /// Something that the reader should know.
    pub fn note(&self, note: impl Into<String>) {
        let note = note.into();
        println!("  {note}");
        self.results.borrow_mut().notes.push(note);
    }

    /// Writes the results down, if `BENCH_RESULTS` says where.
    ///
    /// # Panics
    ///
    /// If that cannot be done.
    pub fn save(self) {
        let Some(file) = self.file else { return };
        let written = serde_json::to_vec_pretty(&self.results.into_inner())
            .map_err(std::io::Error::from)
            .and_then(|json| std::fs::write(&file, json));
        if let Err(error) = written {
            #[allow(clippy::panic, reason = "a run whose results are lost has failed")]
            {
                panic!("{}: {error}", file.display());
            }
        }
    }
}
