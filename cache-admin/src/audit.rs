//! Audit events: who did what, and how it ended.
//!
//! Every write is one `tracing` event with the target `cache_admin::audit` and the fields `who`,
//! `action`, `what` and `result`; also one that was refused, and one whose caller went away before
//! its end.

use std::fmt::Display;

use crate::auth::Caller;
use crate::error::ApiError;

const TARGET: &str = "cache_admin::audit";
/// Keys that are named one by one.
const NAMED: usize = 20;
/// Characters of `what`, so that whoever may write cannot fill the log.
const LONGEST: usize = 32 * 1024;

/// A write under way.
pub(crate) struct Audit {
    who: Caller,
    action: &'static str,
    what: String,
    ended: bool,
}

impl Audit {
    pub(crate) fn begin(who: Caller, action: &'static str, what: impl Into<String>) -> Self {
        Self { who, action, what: bounded(what.into()), ended: false }
    }

    /// Tells how it ended; `outcome` says what came of a success.
    pub(crate) fn end<T, O: Display>(
        mut self,
        result: Result<T, ApiError>,
        outcome: impl FnOnce(&T) -> O,
    ) -> Result<T, ApiError> {
        self.ended = true;
        let Self { who, action, what, .. } = &self;
        let (who, action) = (&*who.name, *action);
        match &result {
            Ok(value) => {
                let result = outcome(value);
                tracing::info!(target: TARGET, who, action, what, %result, "an admin write");
            }
            Err(error) => {
                let result = error.code;
                tracing::warn!(target: TARGET, who, action, what, result, "an admin write failed");
            }
        }
        result
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        if !self.ended {
            let Self { who, action, what, .. } = self;
            let (who, action, result) = (&*who.name, *action, "abandoned");
            tracing::warn!(target: TARGET, who, action, what, result, "an admin write, perhaps done");
        }
    }
}

/// A caller without the right to write has tried to.
pub(crate) fn refused(who: &Caller, path: &str) {
    let (who, action, result) = (&*who.name, "refused", "forbidden");
    let what = bounded(path.to_owned());
    tracing::warn!(target: TARGET, who, action, what, result, "an admin write was refused");
}

/// Some of them by name, and how many there are.
pub(crate) fn keys(keys: &[String]) -> String {
    let named = &keys[..keys.len().min(NAMED)];
    match keys.len() - named.len() {
        0 => format!("keys {named:?}"),
        more => format!("keys {named:?} and {more} more"),
    }
}

fn bounded(mut what: String) -> String {
    if let Some((end, _)) = what.char_indices().nth(LONGEST) {
        what.truncate(end);
        what.push('…');
    }
    what
}
