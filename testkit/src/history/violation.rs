//! What the checker found.

use std::error::Error;
use std::fmt;

use super::record::{Record, Stamp};

/// A read that returned what it must not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The read.
    pub read: Record,
    /// What is wrong with it.
    pub reason: Reason,
}

/// Why a read is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// Nobody wrote or loaded the value under this key.
    NoSource,
    /// The value was not there before the read had returned.
    FromTheFuture {
        /// Where it came from later.
        source: Record,
    },
    /// Every source of the value was superseded before the read began.
    Superseded {
        /// The latest source.
        source: Record,
        /// What superseded it.
        by: Record,
        /// From when on that counts on the read's node.
        counts_from: Stamp,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "a read returned what it must not:")?;
        writeln!(f, "  read:          {}", self.read)?;
        match &self.reason {
            Reason::NoSource => f.write_str("  nobody wrote or loaded that value under this key"),
            Reason::FromTheFuture { source } => {
                write!(f, "  its source began only after the read had returned: {source}")
            }
            Reason::Superseded { source, by, counts_from } => {
                writeln!(f, "  source:        {source}")?;
                writeln!(f, "  superseded by: {by}")?;
                write!(f, "  which counts on node {} from {counts_from} on", self.read.node)
            }
        }
    }
}

impl Error for Violation {}
