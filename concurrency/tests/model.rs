//! The state of a shard under schedules that a model checker chooses: exclusion, order of
//! arrival, nobody forgotten, empty at rest.

#![allow(clippy::unwrap_used, reason = "test code, also outside of test functions")]

#[path = "../src/shard.rs"]
#[allow(dead_code, reason = "the model drives a part of it")]
mod shard;
#[path = "../src/state.rs"]
#[allow(dead_code, reason = "the model drives a part of it")]
mod state;

/// The checked mutex in the place of the real one.
mod sync {
    use shuttle::sync::MutexGuard;

    pub(crate) struct Mutex<T>(shuttle::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(shuttle::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().unwrap()
        }
    }
}

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::task::{Poll, Waker};
use std::time::Duration;

use cache_core::{LockErrorKind, LockLease, LockOptions, ManualClock};
use shard::Shard;
use shuttle::future::block_on;
use shuttle::sync::Mutex;
use shuttle::sync::atomic::AtomicUsize;
use shuttle::thread;
use state::{Entered, Look, Name, Terms};

const K: Name<'_> = Name { key: "k", hash: 7 };

struct Model {
    shard: Shard,
    clock: ManualClock,
    // Drawn under the shard's mutex, so it need not be a checked one.
    places: AtomicU64,
    inside: AtomicUsize,
    grants: Mutex<Vec<u64>>,
}

impl Model {
    fn new() -> Arc<Self> {
        let clock = ManualClock::new();
        Arc::new(Self {
            shard: Shard::new(clock.clock()),
            clock,
            places: AtomicU64::new(1),
            inside: AtomicUsize::new(0),
            grants: Mutex::new(Vec::new()),
        })
    }

    fn enter(&self, options: &LockOptions) -> Entered {
        let draw = |_| self.places.fetch_add(1, SeqCst);
        self.shard.enter(K, Terms::of(options), true, self.clock.now(), draw)
    }

    /// Waits without a timer: if a wake-up were lost, this would be a deadlock.
    fn acquire(&self, options: &LockOptions) -> Option<LockLease> {
        let place = match self.enter(options) {
            Entered::Granted(lease) => return Some(lease),
            Entered::Queued(place) => place,
            Entered::Held => unreachable!("it queues"),
            Entered::Closed => return None,
        };
        block_on(poll_fn(|cx| match self.shard.look(K, place, cx.waker()) {
            Look::Granted(lease) => Poll::Ready(Some(lease)),
            Look::Waiting { .. } => Poll::Pending,
            Look::Gone => unreachable!("no lease ends here"),
            Look::Closed => Poll::Ready(None),
        }))
    }

    /// A caller that runs a section.
    fn section(&self) {
        let Some(lease) = self.acquire(&LockOptions::default()) else {
            return;
        };
        assert_eq!(self.inside.fetch_add(1, SeqCst), 0, "two sections at once");
        self.grants.lock().unwrap().push(lease.fencing_token().0);
        thread::yield_now();
        self.inside.fetch_sub(1, SeqCst);
        // As a guard does: first the lease ends, then the lock is given back.
        lease.revoke(LockErrorKind::LeaseLost);
        self.shard.leave(K, lease.fencing_token().0);
    }

    /// A caller that gives up after `looks`, whether it was granted meanwhile or not.
    fn give_up(&self, looks: usize) {
        match self.enter(&LockOptions::default()) {
            Entered::Granted(lease) => {
                self.shard.leave(K, lease.fencing_token().0);
            }
            Entered::Queued(place) => {
                for _ in 0..looks {
                    self.shard.look(K, place, Waker::noop());
                }
                self.shard.leave(K, place);
            }
            Entered::Held | Entered::Closed => {}
        }
    }

    /// Places are drawn on arrival: sorted grants are grants in the order of arrival.
    fn at_rest(&self, sections: Option<usize>) {
        let grants = self.grants.lock().unwrap();
        assert!(grants.is_sorted_by(|a, b| a < b), "overtaken: {grants:?}");
        assert!(sections.is_none_or(|sections| sections == grants.len()), "a caller was lost");
        assert_eq!(self.shard.len(), 0, "something is left");
    }
}

fn spawn(model: &Arc<Model>, run: impl FnOnce(&Model) + Send + 'static) -> thread::JoinHandle<()> {
    let model = Arc::clone(model);
    thread::spawn(move || run(&model))
}

fn join(threads: impl IntoIterator<Item = thread::JoinHandle<()>>) {
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

fn sections_and_a_cancelled_waiter() {
    let model = Model::new();
    join([
        spawn(&model, Model::section),
        spawn(&model, Model::section),
        spawn(&model, |model| model.give_up(1)),
        spawn(&model, Model::section),
    ]);
    model.at_rest(Some(3));
}

fn one_section_and_one_that_gives_up() {
    let model = Model::new();
    join([spawn(&model, Model::section), spawn(&model, |model| model.give_up(1))]);
    model.section();
    model.at_rest(Some(2));
}

fn a_shutdown_meanwhile() {
    let model = Model::new();
    join([
        spawn(&model, Model::section),
        spawn(&model, Model::section),
        spawn(&model, |model| model.shard.close()),
    ]);
    model.at_rest(None);
}

/// A holder that outlives its lease, one that takes over, one that comes late, and force.
fn leases_that_end() {
    let model = Model::new();
    let lease = Duration::from_secs(1);
    let options = LockOptions::default().lease(lease).renew(false);
    let Entered::Granted(old) = model.enter(&options) else { unreachable!("it is free") };
    let next = {
        let old = old.clone();
        spawn(&model, move |model| {
            let place = match model.enter(&LockOptions::default()) {
                Entered::Granted(lease) => lease.fencing_token().0,
                Entered::Queued(place) => place,
                Entered::Held | Entered::Closed => unreachable!(),
            };
            // Polls like one whose timer has fired: looks until the lease is over.
            while !matches!(model.shard.look(K, place, Waker::noop()), Look::Granted(_)) {
                thread::yield_now();
            }
            assert!(old.check().is_err(), "two leases run");
            model.shard.leave(K, place);
        })
    };
    let force = {
        let old = old.clone();
        spawn(&model, move |model| {
            if old.revoke(LockErrorKind::LeaseLost) {
                model.shard.leave(K, old.fencing_token().0);
            }
        })
    };
    let time = spawn(&model, move |model| model.clock.advance(lease));
    let late = spawn(&model, |model| model.give_up(2));
    join([time, next, force, late]);
    // The release of the first holder, long after.
    model.shard.leave(K, old.fencing_token().0);
    model.at_rest(None);
}

#[test]
fn p4_random_schedules() {
    shuttle::check_random(sections_and_a_cancelled_waiter, 3_000);
    shuttle::check_random(a_shutdown_meanwhile, 2_000);
    shuttle::check_random(leases_that_end, 3_000);
}

#[test]
fn p4_schedules_with_few_preemptions() {
    shuttle::check_pct(sections_and_a_cancelled_waiter, 3_000, 3);
    shuttle::check_pct(a_shutdown_meanwhile, 2_000, 3);
}

#[test]
fn p4_all_schedules_of_a_small_case() {
    shuttle::check_dfs(one_section_and_one_that_gives_up, Some(50_000));
}
