//! Writes of a key, told at once or gathered, while another thread tells what was gathered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cache_core::ManualClock;
use shuttle::thread;

use crate::teller::{Gathered, Teller};
use crate::{exhaustively, randomly};

const LATER: std::time::Duration = std::time::Duration::from_millis(1);

struct Node {
    teller: Teller,
    clock: ManualClock,
    /// For each write whether the others may still have what was there before.
    untold: [AtomicBool; 4],
}

impl Node {
    fn new() -> Arc<Self> {
        let clock = ManualClock::new();
        Arc::new(Self { teller: Teller::new(clock.clock()), clock, untold: Default::default() })
    }

    fn tell(&self) {
        self.untold.iter().for_each(|untold| untold.store(false, Ordering::SeqCst));
    }

    fn is_told(&self, write: usize) -> bool {
        !self.untold[write].load(Ordering::SeqCst)
    }

    fn write(&self, write: usize) {
        self.untold[write].store(true, Ordering::SeqCst);
        if self.teller.may_tell("k") {
            // Where a call would take its time.
            thread::yield_now();
            self.tell();
        } else {
            drop(self.teller.add(["k".to_owned()]));
        }
    }

    fn tell_gathered(&self) {
        self.clock.advance(LATER);
        if let Some(Gathered { keys, .. }) = self.teller.take() {
            assert_eq!(keys, ["k"]);
            thread::yield_now();
            self.tell();
        }
    }
}

fn writes_are_told(writers: &[fn(&Node)], teller: fn(&Node)) {
    let node = Node::new();
    let spawn = |call: fn(&Node)| {
        let node = Arc::clone(&node);
        thread::spawn(move || call(&node))
    };
    let threads: Vec<_> = writers.iter().chain([&teller]).map(|call| spawn(*call)).collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    // What is left is told when it is due, or when the store ends.
    let due = node.teller.due().is_some();
    let left = node.teller.take_all();
    assert_eq!(due, left.is_some(), "gathered, and never due");
    if left.is_some() {
        node.tell();
    }
    assert!((0..4).all(|write| node.is_told(write)), "a write was not told");
}

#[test]
fn p2_06_each_write_is_told_every_interleaving() {
    exhaustively(|| writes_are_told(&[|node| node.write(0), |node| node.write(1)], |_| ()));
}

#[test]
fn p2_06_writes_of_two_threads_and_one_that_tells() {
    randomly(|| {
        let first: fn(&Node) = |node| {
            node.write(0);
            node.write(1);
        };
        let second: fn(&Node) = |node| {
            node.write(2);
            node.write(3);
        };
        writes_are_told(&[first, second], |node| {
            node.tell_gathered();
            node.tell_gathered();
        });
    });
}

/// A bug: what was gathered is taken, and not told.
#[test]
#[should_panic(expected = "a write was not told")]
fn what_is_taken_and_not_told_is_found() {
    randomly(|| {
        let writes: fn(&Node) = |node| {
            node.write(0);
            node.write(1);
        };
        writes_are_told(&[writes], |node| {
            node.clock.advance(LATER);
            drop(node.teller.take());
        });
    });
}
