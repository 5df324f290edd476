//! Loads that wait for another node's, while that is told, the key removed and waiters go away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cache_core::Selector;
use shuttle::future::block_on;
use shuttle::thread::{self, JoinHandle};

use crate::waiters::Waiters;
use crate::{exhaustively, randomly};

#[derive(Default)]
struct Node {
    waiters: Waiters,
    /// Whether the other node's load is over.
    filled: AtomicBool,
}

impl Node {
    fn is_filled(&self) -> bool {
        // Where a call would take its time.
        thread::yield_now();
        self.filled.load(Ordering::SeqCst)
    }

    /// As the engine does: registered before it asks, so that no answer makes it miss the news.
    fn wait(&self) {
        let changed = self.waiters.wait("k");
        if !self.is_filled() {
            block_on(changed);
            assert!(self.is_filled(), "woken for nothing");
        }
    }

    /// A bug.
    fn wait_after_asking(&self) {
        if !self.is_filled() {
            block_on(self.waiters.wait("k"));
        }
    }

    /// One that is given up.
    fn give_up(&self) {
        let changed = self.waiters.wait("k");
        thread::yield_now();
        drop(changed);
    }

    fn fill(&self, tell: fn(&Waiters)) {
        thread::yield_now();
        self.filled.store(true, Ordering::SeqCst);
        tell(&self.waiters);
    }
}

fn spawn(node: &Arc<Node>, call: fn(&Node)) -> JoinHandle<()> {
    let node = Arc::clone(node);
    thread::spawn(move || call(&node))
}

/// A wake-up that is lost leaves a thread that waits for ever, which the model calls a deadlock.
fn nobody_waits_for_ever(calls: &[fn(&Node)], tell: fn(&Waiters)) {
    let node = Arc::<Node>::default();
    let waiting: Vec<_> = calls.iter().map(|call| spawn(&node, *call)).collect();
    node.fill(tell);
    waiting.into_iter().for_each(|waiting| waiting.join().unwrap());
}

#[test]
fn p3_08_a_waiter_is_woken_every_interleaving() {
    exhaustively(|| nobody_waits_for_ever(&[Node::wait], |waiters| waiters.wake_key("k")));
}

#[test]
fn p3_08_waiters_are_woken_while_others_give_up() {
    randomly(|| {
        let calls: [fn(&Node); 4] = [Node::wait, Node::give_up, Node::wait, Node::give_up];
        nobody_waits_for_ever(&calls, |waiters| waiters.wake_key("k"));
    });
}

#[test]
fn p3_08_a_removal_of_everything_wakes_them_too() {
    randomly(|| {
        let calls: [fn(&Node); 3] = [Node::wait, Node::give_up, Node::wait];
        nobody_waits_for_ever(&calls, |waiters| waiters.wake(&Selector::All));
    });
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_waiter_that_asks_first_is_found() {
    exhaustively(|| {
        nobody_waits_for_ever(&[Node::wait_after_asking], |waiters| waiters.wake_key("k"));
    });
}
