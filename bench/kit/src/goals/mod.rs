//! The figures to reach, and whether a run has reached them.

mod hybrid;
mod locks;
mod measured;
mod near;
mod redis;

use serde::{Deserialize, Serialize};

use self::measured::Reading;
pub(crate) use self::measured::{IN_PROCESS, Measured};
use crate::results::rounded;
use crate::{Bound, Results};

/// A figure to reach, and what was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Goal {
    /// What it is about.
    pub group: String,
    /// What it is.
    pub name: String,
    /// What was measured; nothing if the run was without it, which does not hold.
    pub measured: Option<f64>,
    /// The least and the most of the rounds or processes that `measured` is the middle of, where it is
    /// one of several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<(f64, f64)>,
    /// The worst of the same elsewhere: with other numbers of keys or other values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elsewhere: Option<Elsewhere>,
    /// What it may be.
    pub bound: Bound,
    /// Whether it was reached.
    pub holds: bool,
}

/// What was measured where a figure is not judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Elsewhere {
    /// What it was.
    pub measured: f64,
    /// Where.
    pub at: String,
}

/// A figure to reach before it is judged.
struct Wanted {
    name: String,
    bound: Bound,
    reading: Option<Reading>,
}

impl Wanted {
    fn new(name: impl Into<String>, bound: Bound, reading: Option<Reading>) -> Self {
        Self { name: name.into(), bound, reading }
    }

    fn judged(self, group: &str) -> Goal {
        let Self { name, bound, reading } = self;
        let measured = reading.as_ref().and_then(|reading| rounded(reading.value));
        let (range, elsewhere) =
            reading.map_or((None, None), |reading| (reading.range, reading.elsewhere));
        let range = range.and_then(|(least, most)| Some((rounded(least)?, rounded(most)?)));
        let elsewhere = elsewhere.and_then(|(value, at)| {
            let measured = rounded(value)?;
            Some(Elsewhere { measured, at })
        });
        let holds = measured.is_some_and(|measured| bound.holds(measured));
        Goal { group: group.to_owned(), name, measured, range, elsewhere, bound, holds }
    }
}

/// All figures to reach, judged by what the programs have handed on; those of a group together.
#[must_use]
pub fn judge(results: &[Results]) -> Vec<Goal> {
    let run = Measured(results);
    let groups = [
        ("In process", near::wanted(run)),
        ("Redis", redis::wanted(run)),
        ("The hybrid", hybrid::wanted(run)),
        ("Locks", locks::wanted(run)),
    ];
    let judged = |(group, wanted): (&'static str, Vec<Wanted>)| {
        wanted.into_iter().map(move |wanted| wanted.judged(group))
    };
    groups.into_iter().flat_map(judged).collect()
}
