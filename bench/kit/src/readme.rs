//! The figures in the README: a small part of the report.

use std::fmt::Write as _;

use crate::markdown::shown;
use crate::report::bars_file;
use crate::{Report, Results, Table};

const BEGIN: &str = "<!-- Figures: scripts/bench writes them. -->\n";
const END: &str = "<!-- End of the figures. -->";

const PLACE: &str = "all cores";
const HITS: &str = "near/10000 keys/1 thread/150 B";
const READS: &str = "redis/64 tasks/150 B";

/// `readme` with the figures of `report` in the place that it has for them; nothing if it has none, or
/// the report is without them.
#[must_use]
pub fn readme(readme: &str, report: &Report) -> Option<String> {
    let (before, rest) = readme.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}{}{END}{after}", figures(report)?))
}

fn figures(report: &Report) -> Option<String> {
    let (near, hits) = table(report, HITS)?;
    let (_, reads) = table(report, READS)?;
    let allocations = table(report, "near/allocations")?.1;
    let (machine, reached) = (&report.machine, report.reached());
    let mut text = format!(
        "\nOne run of `scripts/bench` on {}, {} cores, {}; medians of turns taken side by \
         side. {reached} [The whole report](bench/report/report.md).\n\n\
         A hit in process, 10,000 keys at random, 150 bytes of JSON, one thread:\n\n\
         | | ns | × | allocations |\n|---|---:|---:|---:|\n",
        machine.processor, machine.cores, report.date
    );
    for row in &hits.rows {
        let allocations = allocations.cell(&row.name, "allocations");
        let cells = [row.cells.get("ns").copied(), row.cells.get("×").copied(), allocations];
        line(&mut text, &row.name, &cells);
    }
    text.push_str("\nReads from Redis by 64 tasks:\n\n| | thousand a second | client CPU µs |\n|---|---:|---:|\n");
    for row in &reads.rows {
        let rate = row.cells.get("µs").map(|micros| 1e3 / micros);
        line(&mut text, &row.name, &[rate, row.cells.get("client CPU µs").copied()]);
    }
    let _ = writeln!(text, "\n![{}](bench/report/{})", hits.title, bars_file(near, hits));
    Some(text)
}

fn table<'a>(report: &'a Report, id: &str) -> Option<(&'a Results, &'a Table)> {
    let here = report.results.iter().filter(|results| results.place == PLACE);
    let mut tables =
        here.flat_map(|results| results.tables.iter().map(move |table| (results, table)));
    tables.find(|(_, table)| table.id == id)
}

fn line(text: &mut String, name: &str, cells: &[Option<f64>]) {
    let cells: Vec<_> = cells.iter().map(|cell| shown(*cell)).collect();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "| {name} | {} |", cells.join(" | "));
}
