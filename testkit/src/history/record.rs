//! What a history is made of.

use std::fmt;
use std::ops::Range;

use cache_core::{BusEvent, Selector};

/// A place in the order of events; see the [module](super).
pub type Stamp = u64;

/// One thing that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The node it was done on.
    pub node: usize,
    /// Before it began.
    pub began: Stamp,
    /// After it ended; `None` if it failed or never returned.
    pub ended: Option<Stamp>,
    /// What it was.
    pub action: Action,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// A key was read.
    Read {
        /// Which.
        key: String,
        /// What was there.
        found: Option<u64>,
        /// Whether a load may have answered.
        by: Reader,
    },
    /// A value was written to the cache.
    Write {
        /// Under which key.
        key: String,
        /// Which.
        value: u64,
    },
    /// A write that nobody will answer any more: it had its effect between its stamps, or has none.
    Unanswered {
        /// Under which key.
        key: String,
        /// Which.
        value: u64,
    },
    /// A loader read the database; the value went to the cache and its callers.
    Load {
        /// For which key.
        key: String,
        /// What it read.
        value: u64,
    },
    /// Keys were removed from the cache.
    Remove(Selector),
    /// The bus was told.
    Publish(Selector),
    /// The bus handed an event over (`began`), and the node asked for the next one (`ended`).
    Deliver(BusEvent),
}

/// How a key was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reader {
    /// By a call that loads nothing.
    Get,
    /// By a call that loads, or joins a load.
    Load,
}

impl Action {
    /// A plain read that found `value`.
    #[must_use]
    pub fn found(key: &str, value: u64) -> Self {
        Self::Read { key: key.to_owned(), found: Some(value), by: Reader::Get }
    }

    /// A read-through that got `value`.
    #[must_use]
    pub fn got(key: &str, value: u64) -> Self {
        Self::Read { key: key.to_owned(), found: Some(value), by: Reader::Load }
    }

    /// A plain read that found nothing.
    #[must_use]
    pub fn missed(key: &str) -> Self {
        Self::Read { key: key.to_owned(), found: None, by: Reader::Get }
    }

    /// A write.
    #[must_use]
    pub fn write(key: &str, value: u64) -> Self {
        Self::Write { key: key.to_owned(), value }
    }

    /// A loader's reading of the database.
    #[must_use]
    pub fn load(key: &str, value: u64) -> Self {
        Self::Load { key: key.to_owned(), value }
    }

    /// A removal.
    #[must_use]
    pub fn remove(what: Selector) -> Self {
        Self::Remove(what)
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}..", self.began)?;
        match self.ended {
            Some(ended) => write!(f, "{ended}]")?,
            None => f.write_str("?]")?,
        }
        write!(f, " node {}: ", self.node)?;
        match &self.action {
            Action::Read { key, found, by } => {
                let verb = if *by == Reader::Get { "get" } else { "get_or_load" };
                write!(f, "{verb} {key} = ")?;
                match found {
                    Some(value) => write!(f, "{value}"),
                    None => f.write_str("nothing"),
                }
            }
            Action::Write { key, value } => write!(f, "set {key} = {value}"),
            Action::Unanswered { key, value } => write!(f, "set {key} = {value}, unanswered"),
            Action::Load { key, value } => write!(f, "loader of {key} read {value}"),
            Action::Remove(what) => write!(f, "remove {what:?}"),
            Action::Publish(what) => write!(f, "publish {what:?}"),
            Action::Deliver(event) => write!(f, "heard {event:?}"),
        }
    }
}

/// What was done, in the order in which it began. `Display` has a line for each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    records: Vec<Record>,
}

impl History {
    /// An empty one, to be written by hand.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds something that returned: from the first stamp to the second.
    pub fn add(&mut self, node: usize, stamps: Range<Stamp>, action: Action) {
        let Range { start: began, end } = stamps;
        self.records.push(Record { node, began, ended: Some(end), action });
    }

    /// Adds something that failed or never returned.
    pub fn add_unknown(&mut self, node: usize, began: Stamp, action: Action) {
        self.records.push(Record { node, began, ended: None, action });
    }

    /// The records.
    #[must_use]
    pub fn records(&self) -> &[Record] {
        &self.records
    }
}

impl FromIterator<Record> for History {
    fn from_iter<I: IntoIterator<Item = Record>>(records: I) -> Self {
        let mut records = Vec::from_iter(records);
        records.sort_by_key(|record| record.began);
        Self { records }
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.records.iter().try_for_each(|record| writeln!(f, "{record}"))
    }
}
