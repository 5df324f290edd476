//! The rules of the [module](super).

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;

use super::record::{Access, Hold, LockHistory};

/// Whether two may hold a lock at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exclusion {
    /// Never.
    Required,
    /// Where whoever grants locks may have forgotten them: a server that lost its data.
    Excused,
}

/// What no lock does.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LockViolation {
    /// Two holds with one fence.
    SameFence {
        /// One of them.
        one: Hold,
        /// The other.
        other: Hold,
    },
    /// A fence that is lower than one that was granted before it was asked for.
    FenceWentBack {
        /// The earlier grant.
        before: Hold,
        /// The later one, with the lower fence.
        after: Hold,
    },
    /// Two believed in their leases at once, or the one with the lower fence did later.
    Overlap {
        /// The one with the lower fence.
        lower: Hold,
        /// The one with the higher fence, which was granted before the other was over.
        higher: Hold,
    },
    /// A resource accepted somebody who came too late.
    LowerFenceAccepted {
        /// What it had accepted before.
        before: Access,
        /// What it should have refused.
        after: Access,
    },
}

/// Whether locks may have been granted, and a resource used, in that way.
///
/// # Errors
///
/// The first thing that is wrong.
///
/// See the [module](super) for an example.
pub fn check_locks(history: &LockHistory, exclusion: Exclusion) -> Result<(), Box<LockViolation>> {
    let (mut holds, mut accesses) = (BTreeMap::<_, Vec<_>>::new(), BTreeMap::<_, Vec<_>>::new());
    for hold in &history.holds {
        holds.entry(&*hold.key).or_default().push(hold);
    }
    for access in history.accesses.iter().filter(|access| access.accepted) {
        accesses.entry(&*access.key).or_default().push(access);
    }
    for holds in holds.values_mut() {
        fences_increase(holds)?;
        holds.sort_by_key(|hold| hold.fence);
        one_after_the_other(holds, exclusion)?;
    }
    for accepted in accesses.values() {
        lower_are_refused(accepted)?;
    }
    Ok(())
}

/// Rule 2.
fn fences_increase(holds: &[&Hold]) -> Result<(), Box<LockViolation>> {
    let (mut granted, mut asked) = (holds.to_vec(), holds.to_vec());
    granted.sort_by_key(|hold| hold.granted);
    asked.sort_by_key(|hold| hold.asked);
    let (mut earlier, mut highest) = (granted.into_iter().peekable(), None::<&Hold>);
    for after in asked {
        while let Some(before) = earlier.next_if(|before| before.granted < after.asked) {
            highest = highest.filter(|highest| highest.fence > before.fence).or(Some(before));
        }
        if let Some(before) = highest.filter(|before| before.fence > after.fence) {
            let (before, after) = (before.clone(), after.clone());
            return Err(Box::new(LockViolation::FenceWentBack { before, after }));
        }
    }
    Ok(())
}

/// Rules 1 and 3, of holds in the order of their fences.
fn one_after_the_other(holds: &[&Hold], exclusion: Exclusion) -> Result<(), Box<LockViolation>> {
    if let Some(pair) = holds.windows(2).find(|pair| pair[0].fence == pair[1].fence) {
        let (one, other) = (pair[0].clone(), pair[1].clone());
        return Err(Box::new(LockViolation::SameFence { one, other }));
    }
    if exclusion == Exclusion::Excused {
        return Ok(());
    }
    let known: Vec<_> = holds.iter().filter_map(|hold| Some((*hold, hold.valid?))).collect();
    for pair in known.windows(2) {
        let ((lower, valid), (higher, _)) = (pair[0], pair[1]);
        if valid >= higher.granted {
            let (lower, higher) = (lower.clone(), higher.clone());
            return Err(Box::new(LockViolation::Overlap { lower, higher }));
        }
    }
    Ok(())
}

/// Rule 4, of accesses that were accepted.
fn lower_are_refused(accepted: &[&Access]) -> Result<(), Box<LockViolation>> {
    let (mut ended, mut began) = (accepted.to_vec(), accepted.to_vec());
    ended.sort_by_key(|access| access.ended);
    began.sort_by_key(|access| access.began);
    let (mut earlier, mut highest) = (ended.into_iter().peekable(), None::<&Access>);
    for after in began {
        while let Some(before) = earlier.next_if(|before| before.ended < after.began) {
            highest = highest.filter(|highest| highest.fence > before.fence).or(Some(before));
        }
        if let Some(before) = highest.filter(|before| before.fence > after.fence) {
            let (before, after) = (before.clone(), after.clone());
            return Err(Box::new(LockViolation::LowerFenceAccepted { before, after }));
        }
    }
    Ok(())
}

impl fmt::Display for LockViolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SameFence { one, other } => {
                write!(f, "two holds have one fence:\n  {one:?}\n  {other:?}")
            }
            Self::FenceWentBack { before, after } => {
                write!(f, "a fence went back:\n  before: {before:?}\n  after:  {after:?}")
            }
            Self::Overlap { lower, higher } => {
                write!(f, "two held a lock at once:\n  lower:  {lower:?}\n  higher: {higher:?}")
            }
            Self::LowerFenceAccepted { before, after } => write!(
                f,
                "a resource accepted a lower fence:\n  before: {before:?}\n  after:  {after:?}"
            ),
        }
    }
}

impl Error for LockViolation {}
