//! Histories of who held which lock, and a checker that says whether it was a lock.
//!
//! # What is recorded
//!
//! A [`LockHistory`] is a set of [`Hold`]s and [`Access`]es, with [`Stamp`](crate::history::Stamp)s from
//! one counter that all threads share: what ended at a lower stamp than something else began was
//! over before it, whatever the clocks say. A hold is known from [`granted`](Hold::granted), which
//! is taken after the lock was got, to [`valid`](Hold::valid), the last stamp that was taken
//! before the lease was found to run. In between its client believed in it, and was right to:
//! a lease that is over does not come back.
//!
//! # The rules
//!
//! For each key by itself:
//!
//! 1. **Fences tell holds apart.** No two holds have the same fence.
//! 2. **Fences increase.** What was asked for after another had been granted has a higher fence
//!    than that.
//! 3. **Exclusion**, if [required](Exclusion): what is known of one hold is over before what is
//!    known of the one with the next higher fence begins. That is the model of a mutex with
//!    expiry, for one holder after the other in the order of fences is the only order of grants
//!    that such a mutex can have.
//! 4. **A fenced resource refuses.** An access under a lower fence than that of an accepted access
//!    which was over before it began is not accepted. This has to hold even where exclusion
//!    cannot: a holder that is halted between its last look at the lease and its write.
//!
//! The checker errs on the side of silence: of a hold whose lease was never found to run only the
//! fence counts. What it reports is wrong.
//!
//! # Use
//!
//! ```
//! use cache_testkit::lock_history::{Exclusion, Hold, LockHistory, LockViolation, check_locks};
//!
//! let hold = |fence, asked, granted, valid| {
//!     Hold { client: 0, key: "k".into(), fence, asked, granted, valid: Some(valid) }
//! };
//! let mut history = LockHistory::default();
//! history.holds = vec![hold(7, 0, 1, 4), hold(8, 2, 5, 9)];
//! check_locks(&history, Exclusion::Required).unwrap();
//!
//! history.holds[0].valid = Some(6); // and the other was granted at 5
//! let violation = check_locks(&history, Exclusion::Required).unwrap_err();
//! assert!(matches!(*violation, LockViolation::Overlap { .. }), "{violation}");
//! check_locks(&history, Exclusion::Excused).unwrap();
//! ```
//!
//! Histories come from tests' own tasks, through [`LockClient`]s and a [`FencedRegister`].

mod checker;
mod client;
mod record;
mod register;

pub use checker::{Exclusion, LockViolation, check_locks};
pub use client::{LockClient, RecordedGuard};
pub use record::{Access, Hold, LockHistory, LockRecorder};
pub use register::{FencedRegister, Refused};
