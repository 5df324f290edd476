//! `rslock` 0.10, as its README has it: `acquire` and `release`, with the socket options of ours, everything
//! else as it is.
//!
//! Its own choices: one connection; after a failed attempt it sends a release and waits for up to
//! 200 ms at random.

use std::collections::BTreeMap;
use std::time::Duration;

use ::rslock::{LockGuard, LockManager};

use crate::contender::{Contender, calls};
use crate::tcp;

pub(crate) struct Rslock(LockManager);

impl Contender for Rslock {
    const NAME: &'static str = "rslock 0.10";
    type Guard = LockGuard;

    async fn connect(url: &str) -> Self {
        let locks = LockManager::from_clients(vec![tcp::client(url)]);
        // It connects when it is first asked.
        locks.acquire("warm-up", Duration::from_secs(30)).await.unwrap().release().await;
        Self(locks)
    }

    async fn acquire(&self, key: &str) -> LockGuard {
        self.0.acquire(key, Duration::from_secs(30)).await.unwrap()
    }

    async fn release(&self, guard: LockGuard) {
        guard.release().await;
    }

    fn attempts(commands: &BTreeMap<String, u64>, _taken: u64) -> u64 {
        calls(commands, "set")
    }

    fn commands(commands: &BTreeMap<String, u64>) -> u64 {
        ["set", "eval", "evalsha"].map(|command| calls(commands, command)).iter().sum()
    }
}
