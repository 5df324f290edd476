//! Histories of what clients did to a cache, and a checker that says whether the cache may have
//! answered so. It holds a cache to promise P1 (no stale fill) and to its registers.
//!
//! # What is recorded
//!
//! A [`History`] is a set of [`Record`]s. Each has the node it happened on and two [`Stamp`]s from
//! one counter that all threads share: `began` was taken before the call, `ended` after it
//! returned. So if `x.ended < y.began`, then x was over before y began, whatever the wall clock
//! says; else they overlapped and nothing is known of their order. A call that failed, was dropped
//! or is still under way has no `ended`: it may have taken effect at any time since it began, or
//! never. Values are numbers, and every value is written to the database once, so that a value
//! tells where it comes from; but for [`ABSENT`], which stands for a row that is not there.
//!
//! # The rules
//!
//! For each key by itself:
//!
//! 1. **Sources.** A value has a source where it was [written](Action::Write) to the cache, and one
//!    wherever a loader [read](Action::Load) it from the database. For a load the stamps enclose
//!    the reading of the database alone: what the loader knows, it knows as of then.
//! 2. **Removers.** What ends the life of older values is a write or a [removal](Action::Remove)
//!    that selects the key, if it returned `Ok`. One that failed ends nothing for certain.
//! 3. **Counting.** A remover *counts* on a node from a certain stamp on. On the node that called
//!    it, from its return. On the others: as [`Mode`] says.
//! 4. **Superseded.** A source is superseded for a read if some remover began after the source had
//!    ended and counts on the read's node from before the read began.
//! 5. A read that found a value is **right** if that value has a source that began before the read
//!    returned and is not superseded for it. A read that found nothing is right: a cache may drop
//!    anything. A read that failed says nothing.
//!
//! Why so. The writer's pattern is: change the database, then invalidate. Let the removal begin at
//! `i` and return at `r`. A loader that read the database before `i` may have missed the change;
//! one that read it after `i` has not. So it is the sources that ended before `i` which the removal
//! was called against, and a reader who begins after `r` has been promised not to see them (rule
//! 4). Between `i` and `r` the removal may or may not have happened, so a read that began before
//! `r` may see either, and a source that overlaps `i` may be on either side. That is the interval
//! semantics of a register whose values may also vanish; each remover is judged by itself. Weaker
//! than linearizability in one respect: two reads that both overlap a write may see new, then old.
//!
//! A source whose end is unknown (a write that failed: it may arrive later) is never superseded. Where
//! it is known that nothing of it can arrive any more, as some time after its process was killed, it
//! is an [unanswered](Action::Unanswered) one: a source up to then, and no remover.
//! The checker errs on the side of silence: what it reports is wrong.
//!
//! # When a remover counts on other nodes
//!
//! | mode | from |
//! |---|---|
//! | [`Strict`](Mode::Strict) | its return: the nodes are handles of one register |
//! | [`Shared`](Mode::Shared) | its return for a plain read; for a read that may join its node's load, when told |
//! | [`Told`](Mode::Told), [`ToldWithGrace`](Mode::ToldWithGrace) | when told |
//!
//! *When told*: let the remover have called the bus last at `p`, or, if it called it not at all or
//! in vain, let `p` be its return. It took effect before `p`: a cache removes, then tells. Node `m`
//! is told by the first of these, if the remover has returned by then, else by its return:
//!
//! - an event for the key, or `Connected`, which the bus hands to `m` after `p` and which `m` has
//!   dealt with: it asks for the next one. Whatever that event was sent for, `m` drops what it
//!   holds of the key, and what it fetches from then on is from after `p`.
//! - with [`Told`](Mode::Told): a `Disconnected` which the bus hands to `m` after `p` and which `m` has
//!   dealt with. It drops nothing, but neither what it holds nor a load from before is given to anybody.
//! - with [`Told`](Mode::Told), for plain reads: `m` has dealt with a `Disconnected`, and the `Connected`
//!   that follows comes after the remover's return. Without the bus `m` may not trust what it
//!   holds. Loads that began since the loss can be joined all the same, for as long as a cache joins
//!   such: stamps do not say how long that was. A node that hears `Connected` first was without the bus
//!   until then.
//!
//! So the events must be on record: [`Recorder::bus`] wraps a bus for that. A bus that loses events
//! silently tells nothing, and nothing counts.
//!
//! # Use
//!
//! ```
//! use cache_core::Selector;
//! use cache_testkit::history::{Action, History, Mode, check};
//!
//! let mut history = History::new();
//! history.add(0, 1..2, Action::load("k", 7)); // a loader reads the database
//! history.add(0, 3..4, Action::remove(Selector::key("k")));
//! history.add(0, 5..6, Action::found("k", 7)); // and its value is there after the removal
//! let violation = check(&history, Mode::Strict).unwrap_err();
//! assert!(violation.to_string().contains("superseded"), "{violation}");
//! ```
//!
//! Histories come from [`run`], which drives caches at random under a seed, or from a test's own
//! tasks through [`Client`]s. [`explore`] runs and checks many seeds. Several processes write one
//! history into a file: [`Recorder::in_file`] and [`History::read`].

mod bus;
mod checker;
mod client;
mod database;
mod driver;
mod explore;
mod journal;
mod loaders;
mod options;
mod record;
mod recorder;
mod violation;

pub use checker::{Mode, check};
pub use client::Client;
pub use database::{ABSENT, Database};
pub use driver::{Node, run};
pub use explore::{explore, find};
pub use options::Options;
pub use record::{Action, History, Reader, Record, Stamp};
pub use recorder::{Begun, Recorder};
pub use violation::{Reason, Violation};
