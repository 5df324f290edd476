//! Tables as text.

use std::fmt::Write as _;

use crate::Table;

/// For Markdown.
pub(crate) fn markdown(table: &Table) -> String {
    let mut text = format!("| | {} |\n|---|", table.columns.join(" | "));
    text.push_str(&"---:|".repeat(table.columns.len()));
    text.push('\n');
    for row in &table.rows {
        let cells = table.columns.iter().map(|column| shown(row.cells.get(column).copied()));
        // Writing to a String cannot fail.
        let _ = writeln!(text, "| {} | {} |", row.name, cells.collect::<Vec<_>>().join(" | "));
    }
    text
}

/// For a terminal.
pub(crate) fn padded(table: &Table) -> String {
    let names = table.rows.iter().map(|row| row.name.chars().count()).max().unwrap_or_default();
    let width = |column: &String| {
        let cells = table.rows.iter().map(|row| shown(row.cells.get(column).copied()));
        cells.map(|cell| cell.chars().count()).max().unwrap_or_default().max(column.chars().count())
    };
    let widths: Vec<usize> = table.columns.iter().map(width).collect();
    let mut text = format!("  {:names$}", "");
    for (column, width) in table.columns.iter().zip(&widths) {
        let _ = write!(text, "  {column:>width$}");
    }
    for row in &table.rows {
        let _ = write!(text, "\n  {:names$}", row.name);
        for (column, width) in table.columns.iter().zip(&widths) {
            let _ = write!(text, "  {:>width$}", shown(row.cells.get(column).copied()));
        }
    }
    text
}

/// With three digits that count, or as many as it takes before the point.
pub(crate) fn shown(number: Option<f64>) -> String {
    let Some(number) = number else { return "–".to_owned() };
    let digits = match number.abs() {
        0.0 => 0,
        ..10.0 => 2,
        ..100.0 => 1,
        _ => 0,
    };
    format!("{number:.digits$}")
}
