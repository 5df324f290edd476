//! `RedisConcurrencyService`, with as few connections as it can do with.

use std::collections::BTreeMap;
use std::time::Duration;

use cache_concurrency::RedisConcurrencyService;
use cache_core::{ConcurrencyService, LockGuard, LockOptions};
use cache_redis::RedisConfig;

use crate::contender::{Contender, calls};
use crate::raw::BUDGET;

pub(crate) struct Ours {
    pub(crate) locks: RedisConcurrencyService,
    options: LockOptions,
}

impl Contender for Ours {
    const NAME: &'static str = "RedisConcurrencyService";
    type Guard = LockGuard;

    async fn connect(url: &str) -> Self {
        let config = RedisConfig::from_url(url).unwrap().operation_timeout(BUDGET).connections(1);
        let locks = RedisConcurrencyService::connect(config).await.unwrap();
        Self { locks, options: LockOptions::default().wait(Duration::from_secs(600)) }
    }

    async fn acquire(&self, key: &str) -> LockGuard {
        self.locks.acquire(key, &self.options).await.unwrap()
    }

    async fn release(&self, guard: LockGuard) {
        guard.release().await.unwrap();
    }

    /// By what the scripts did: who asks is granted the lock, other than by a hand-over, or is in the queue.
    /// A grant is two strings, its fence and its token.
    fn attempts(commands: &BTreeMap<String, u64>, _taken: u64) -> u64 {
        let of = |command| calls(commands, command);
        (of("hset") + of("set") / 2).saturating_sub(of("publish"))
    }

    fn commands(commands: &BTreeMap<String, u64>) -> u64 {
        calls(commands, "evalsha")
    }
}
