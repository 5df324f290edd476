//! Scenario 39: a Redis that may evict locks is warned about at the start, once; a lock that is
//! evicted is a lease that is lost.
#![allow(clippy::unwrap_used, reason = "test code, also outside of test functions")]

mod redis_common;

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use cache_core::{ConcurrencyServiceExt, LockErrorKind, LockOptions};
use cache_testkit::{RedisServer, eventually, eventually_async};
use redis_common::{LOCK, patient};

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lines {
    fn warnings(&self) -> usize {
        String::from_utf8_lossy(&self.0.lock().unwrap()).matches("may evict locks").count()
    }
}

/// One test: the subscriber is the process's.
#[tokio::test(flavor = "multi_thread")]
async fn p4_39_a_policy_that_evicts_locks_is_warned_about() {
    let lines = Lines::default();
    let writer = lines.clone();
    tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).init();
    for (bytes, policy, warned) in [
        (1 << 24, "noeviction", 0),
        (0, "allkeys-lru", 0),
        (1 << 24, "volatile-lru", 1),
        (1 << 24, "allkeys-random", 2),
    ] {
        let server = RedisServer::builder().max_memory(bytes, policy).start();
        let locks = patient(&server.url()).await;
        // Asking for the statistics is INFO too, and not in its own answer.
        let mut ours = 0;
        eventually(|| {
            let asked = server.commandstats().get("info").copied().unwrap_or(0);
            ours += 1;
            asked >= ours
        })
        .await;
        eventually(|| lines.warnings() == warned).await;
        for _ in 0..10 {
            locks.with_lock("k", async {}).await.unwrap();
        }
        assert_eq!(lines.warnings(), warned, "{policy} with {bytes} bytes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_39_an_evicted_lock_is_a_lost_lease() {
    let server = RedisServer::start();
    let locks = patient(&server.url()).await;
    let options = LockOptions::default().lease(std::time::Duration::from_millis(300));
    let section = |held: cache_core::HeldLock| {
        let server = &server;
        async move {
            // As an eviction does it.
            server.command(&["DEL", LOCK]);
            held.lost().await;
            std::future::pending::<()>().await;
        }
    };
    let error = locks.with_lock_opts("k", &options, section).await.unwrap_err();
    assert_eq!(error.kind(), LockErrorKind::LeaseLost);
    eventually_async(async || locks.with_lock("k", async {}).await.is_ok()).await;
}
