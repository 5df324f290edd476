//! The figures in the README: a small part of the report.

use std::fmt::Write as _;

use crate::goals::{IN_PROCESS, Measured};
use crate::markdown::shown;
use crate::report::bars_file;
use crate::{Report, Results, Table};

const BEGIN: &str = "<!-- Figures: scripts/bench writes them. -->\n";
const END: &str = "<!-- End of the figures. -->";

/// Of the size that is judged.
const HITS: &str = "near/10000 keys/1 thread";
const ALLOCATIONS: &str = "near/allocations";
const READS: &str = "redis/64 tasks";

/// `readme` with the figures of `report` in the place that it has for them; nothing if it has none, or
/// the report is without them.
#[must_use]
pub fn readme(readme: &str, report: &Report) -> Option<String> {
    let (before, rest) = readme.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}{}{END}{after}", figures(report)?))
}

fn figures(report: &Report) -> Option<String> {
    let sized = |id| Measured(&report.results).sized(IN_PROCESS, id);
    let (hits, reads, allocations) = (sized(HITS)?, sized(READS)?, sized(ALLOCATIONS)?);
    let near = of(report, hits)?;
    let size = |table: &Table| table.id.rsplit('/').next().unwrap_or_default().to_owned();
    let (size_of_hits, size_of_reads) = (size(hits), size(reads));
    let (machine, reached) = (&report.machine, report.reached());
    let mut text = format!(
        "\nOne run of `{}` on {}, {} cores, {}; medians of turns taken side by \
         side. {reached} [The whole report](bench/report/report.md).\n\n\
         A hit in process, 10,000 keys at random, {size_of_hits} of JSON, one thread:\n\n\
         | | ns | × | allocations |\n|---|---:|---:|---:|\n",
        report.command(),
        machine.processor,
        machine.cores,
        report.date
    );
    for row in &hits.rows {
        let allocations = allocations.cell(&row.name, "allocations");
        let cells = [row.cells.get("ns").copied(), row.cells.get("×").copied(), allocations];
        line(&mut text, &row.name, &cells);
    }
    let _ = write!(
        text,
        "\nReads of {size_of_reads} from Redis by 64 tasks:\n\n\
         | | thousand a second | client CPU µs |\n|---|---:|---:|\n"
    );
    for row in &reads.rows {
        let rate = row.cells.get("µs").map(|micros| 1e3 / micros);
        line(&mut text, &row.name, &[rate, row.cells.get("client CPU µs").copied()]);
    }
    let _ = writeln!(text, "\n![{}](bench/report/{})", hits.title, bars_file(near, hits));
    Some(text)
}

/// Of which results it is.
fn of<'a>(report: &'a Report, table: &Table) -> Option<&'a Results> {
    let mut here = report.results.iter().filter(|results| results.place == IN_PROCESS);
    here.find(|results| results.tables.iter().any(|other| other.id == table.id))
}

fn line(text: &mut String, name: &str, cells: &[Option<f64>]) {
    let cells: Vec<_> = cells.iter().map(|cell| shown(*cell)).collect();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "| {name} | {} |", cells.join(" | "));
}
