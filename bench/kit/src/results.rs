//! What a bench program hands on: tables of figures, plots over time, and what was checked.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What one program measured in one run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Results {
    /// Which program.
    pub program: String,
    /// Where it ran: `all cores` or `one core`.
    pub place: String,
    /// In the order in which they were measured.
    #[serde(default)]
    pub tables: Vec<Table>,
    /// Lines over time.
    #[serde(default)]
    pub plots: Vec<Plot>,
    /// The program's own bounds.
    #[serde(default)]
    pub checked: Vec<Checked>,
    /// What the reader should know, such as what could not be measured and why.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// Several ways to do the same thing, one below the other.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// By which goals find it, such as `near/10000/150 B/1 thread`.
    pub id: String,
    /// For the reader.
    pub title: String,
    /// Names of columns, in order. A name ends with its unit.
    pub columns: Vec<String>,
    /// The first is the one that others are compared with.
    pub rows: Vec<Row>,
    /// What the reader should know about it, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The column that is drawn as bars, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bars: Option<String>,
}

/// One of the ways.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// Whose.
    pub name: String,
    /// By column; what was not measured is not there.
    pub cells: BTreeMap<String, f64>,
    /// The figure of the first column in each round, or in each process, in order. Those of a table were
    /// measured side by side: a ratio is had of each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub samples: Vec<f64>,
}

/// Lines over a common axis.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plot {
    /// The name of its file, without the ending.
    pub id: String,
    /// Above it.
    pub title: String,
    /// What is on the axis below, with its unit.
    pub x: String,
    /// What is on the axis at the side, with its unit.
    pub y: String,
    /// In order.
    pub lines: Vec<Line>,
}

/// One of the lines.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// Whose.
    pub name: String,
    /// From left to right.
    pub points: Vec<(f64, f64)>,
}

/// What a measured value may be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// So much or less.
    AtMost(f64),
    /// So much or more.
    AtLeast(f64),
}

impl Bound {
    /// Whether `value` keeps to it. What is not a number never does.
    #[must_use]
    pub fn holds(self, value: f64) -> bool {
        match self {
            Self::AtMost(limit) => value <= limit,
            Self::AtLeast(limit) => value >= limit,
        }
    }
}

impl std::fmt::Display for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AtMost(limit) => write!(f, "≤ {limit}"),
            Self::AtLeast(limit) => write!(f, "≥ {limit}"),
        }
    }
}

/// A value beside its bound.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checked {
    /// What it is.
    pub name: String,
    /// What was measured; nothing if that is no number, which does not hold.
    pub measured: Option<f64>,
    /// What it may be.
    pub bound: Bound,
}

impl Checked {
    /// Whether the bound is kept.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.measured.is_some_and(|measured| self.bound.holds(measured))
    }
}

impl Table {
    /// An empty one.
    #[must_use]
    pub fn new(id: impl Into<String>, title: impl Into<String>, columns: &[&str]) -> Self {
        let columns = columns.iter().map(|&column| column.to_owned()).collect();
        Self { id: id.into(), title: title.into(), columns, ..Self::default() }
    }

    /// With `column` drawn as bars in the report.
    #[must_use]
    pub fn with_bars(mut self, column: &str) -> Self {
        self.bars = Some(column.to_owned());
        self
    }

    /// With something that the reader should know.
    #[must_use]
    pub fn with_note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }

    /// One more row; its cells in the order of the columns, `None` for what was not measured.
    pub fn row(&mut self, name: impl Into<String>, cells: &[Option<f64>]) {
        self.sampled_row(name, cells, &[]);
    }

    /// The same with the first column's figure in each round.
    pub fn sampled_row(&mut self, name: impl Into<String>, cells: &[Option<f64>], samples: &[f64]) {
        let cells = self.columns.iter().zip(cells);
        let cells = cells.filter_map(|(column, cell)| Some((column.clone(), rounded((*cell)?)?)));
        let cells = cells.collect();
        let samples = samples.iter().filter_map(|&sample| rounded(sample)).collect();
        self.rows.push(Row { name: name.into(), cells, samples });
    }

    /// A figure of the row `name`.
    #[must_use]
    pub fn cell(&self, name: &str, column: &str) -> Option<f64> {
        self.rows.iter().find(|row| row.name == name)?.cells.get(column).copied()
    }
}

/// To six digits that count: nothing is measured more exactly, and so many are the same number again
/// when they are read. Nothing for what is no number, such as a ratio to 0.
pub(crate) fn rounded(number: f64) -> Option<f64> {
    format!("{number:.5e}").parse().ok().filter(|number: &f64| number.is_finite())
}

/// What `above` was for each of `below` in each round; nothing if they were not measured side by side.
pub(crate) fn paired(above: &Row, below: &Row) -> Option<Vec<f64>> {
    let (above, below) = (&above.samples, &below.samples);
    let side_by_side = !above.is_empty() && above.len() == below.len();
    side_by_side.then(|| above.iter().zip(below).map(|(above, below)| above / below).collect())
}
