//! How figures are had from what the programs have handed on.

use crate::results::paired;
use crate::{Bound, Results, Row, Spread, Table};

/// On the machine as it is, for what runs within one process.
pub(crate) const IN_PROCESS: &str = "all cores";
/// Where Redis and locks are measured.
pub(super) const PLACES: [&str; 2] = ["all cores", "one core"];
/// How a server is asked.
pub(super) const WAYS: [&str; 2] = ["directly", "through the proxy"];
/// The size that is judged, where it was measured.
const SIZE: &str = "150 B";

/// A figure.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    pub(super) value: f64,
    pub(super) range: Option<(f64, f64)>,
    /// The worst of the same elsewhere, and where.
    pub(super) elsewhere: Option<(f64, String)>,
}

impl Reading {
    pub(super) fn of(value: f64) -> Self {
        Self { value, range: None, elsewhere: None }
    }

    /// What `above` is for each of `below`.
    pub(super) fn ratio(above: &Row, below: &Row, column: &str) -> Option<Self> {
        let cell = |row: &Row| row.cells.get(column).copied();
        let Some(ratios) = paired(above, below) else {
            return Some(Self::of(cell(above)? / cell(below)?));
        };
        let Spread { median, min, max } = Spread::of(ratios);
        Some(Self { value: median, range: Some((min, max)), elsewhere: None })
    }
}

/// What the programs have handed on.
#[derive(Clone, Copy)]
pub(crate) struct Measured<'a>(pub(crate) &'a [Results]);

impl<'a> Measured<'a> {
    pub(super) fn tables(self, place: &str) -> impl Iterator<Item = &'a Table> {
        let here = self.0.iter().filter(move |results| results.place == place);
        here.flat_map(|results| &results.tables)
    }

    pub(super) fn table(self, place: &str, id: &str) -> Option<&'a Table> {
        self.tables(place).find(|table| table.id == id)
    }

    /// Of the tables whose ids are this one and a size, the one that is judged: of values of 150 bytes,
    /// or the first if there is none.
    pub(crate) fn sized(self, place: &str, id: &str) -> Option<&'a Table> {
        let of_all = || self.tables(place).filter(|table| size(table, id).is_some());
        of_all().find(|table| size(table, id) == Some(SIZE)).or_else(|| of_all().next())
    }

    /// The same with what is worst in the other tables that `other` names.
    pub(super) fn worst(
        self,
        place: &str,
        id: &str,
        bound: Bound,
        other: impl Fn(&Table) -> bool,
        read: impl Fn(&Table) -> Option<Reading>,
    ) -> Option<Reading> {
        let judged = self.sized(place, id)?;
        let others = self.tables(place).filter(|table| table.id != judged.id && other(table));
        let readings = others.filter_map(|table| Some((read(table)?.value, table.id.clone())));
        let worse = |one: (f64, String), two: (f64, String)| {
            let first = match bound {
                Bound::AtMost(_) => one.0 >= two.0,
                Bound::AtLeast(_) => one.0 <= two.0,
            };
            if first { one } else { two }
        };
        Some(Reading { elsewhere: readings.reduce(worse), ..read(judged)? })
    }
}

/// The size in the id of a table, if what stands before it is `id`.
pub(super) fn size<'a>(table: &'a Table, id: &str) -> Option<&'a str> {
    table.id.strip_prefix(id)?.strip_prefix('/').filter(|size| !size.contains('/'))
}

/// The row whose name begins with `name` and whose figure is the least.
pub(super) fn least<'a>(table: &'a Table, name: &str, column: &str) -> Option<&'a Row> {
    let rows = table.rows.iter().filter(|row| row.name.starts_with(name));
    let measured = rows.filter_map(|row| Some((row, *row.cells.get(column)?)));
    measured.reduce(|one, two| if two.1 < one.1 { two } else { one }).map(|(row, _)| row)
}

/// What the fastest whose names begin with `above` takes for each of the fastest of `below`.
pub(super) fn ratio(table: &Table, above: &str, below: &str, column: &str) -> Option<Reading> {
    Reading::ratio(least(table, above, column)?, least(table, below, column)?, column)
}

/// The greatest figure of a column.
pub(super) fn most(table: &Table, column: &str) -> Option<Reading> {
    let cells = table.rows.iter().filter_map(|row| row.cells.get(column).copied());
    cells.reduce(f64::max).map(Reading::of)
}
