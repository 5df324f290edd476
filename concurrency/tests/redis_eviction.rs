//! Scenario 39: a Redis that may evict locks is warned about at the start, once; a lock that is
//! evicted is a lease that is lost.
#![allow(clippy::unwrap_used, reason = "test code, also outside of test functions")]

mod redis_common;

use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cache_core::{ConcurrencyServiceExt, HeldLock, LockErrorKind, LockOptions};
use cache_testkit::lock_history::{FencedRegister, LockRecorder};
use cache_testkit::{RedisServer, eventually, eventually_async};
use redis_common::{FENCE, LOCK, at_rest, hold, lease, patient};

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

/// Until so many services have asked the server for its policy, as each does once.
async fn have_asked(services: u64, server: &RedisServer) {
    // Asking for the statistics is INFO too, and not in its own answer.
    let mut ours = 0;
    eventually(|| {
        let asked = server.commandstats().get("info").copied().unwrap_or(0) - ours;
        ours += 1;
        asked >= services
    })
    .await;
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
        have_asked(1, &server).await;
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
    let options = LockOptions::default().lease(Duration::from_millis(300));
    let section = |held: HeldLock| {
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

/// Other keys, of which more come than there is room for.
const FILLERS: usize = 100;
/// Bytes of each, and for how many of all of them there is room.
const FILLER: usize = 20_000;
const ROOM: u64 = 1_000_000;

/// Writes other keys until the lock is evicted. `EXISTS` is no use of it that would count.
fn press(server: &RedisServer) {
    let filler = "x".repeat(FILLER);
    let deadline = Instant::now() + Duration::from_secs(30);
    for number in 0.. {
        // Where nothing else may be evicted there is no room in the end.
        let _ = server.try_command(&["SET", &format!("filler{}", number % FILLERS), &filler]);
        if server.command(&["EXISTS", LOCK, FENCE]).integer() == 0 {
            return;
        }
        assert!(Instant::now() < deadline, "the lock is not evicted");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_39_a_lock_that_is_evicted_for_want_of_memory_is_a_lost_lease() {
    for policy in ["volatile-lru", "allkeys-lru"] {
        let server = RedisServer::start();
        let (locks, other) = (patient(&server.url()).await, patient(&server.url()).await);
        // Their warning is for the other test, which counts all of this process.
        have_asked(2, &server).await;
        let register = FencedRegister::new(&LockRecorder::new(), "k");
        let mut old = 0;
        let section = |held: HeldLock| {
            old = u64::from(held.fencing_token());
            let (server, register) = (&server, &register);
            async move {
                register.write(0, held.fencing_token().into(), 1).unwrap();
                let used: u64 = server.info("memory")["used_memory"].parse().unwrap();
                server.command(&["CONFIG", "SET", "maxmemory-policy", policy]);
                server.command(&["CONFIG", "SET", "maxmemory", &(used + ROOM).to_string()]);
                // Here the holder is at work: it hears of the loss at its next await.
                tokio::task::block_in_place(|| press(server));
                assert!(server.info("stats")["evicted_keys"] != "0");
                std::future::pending::<()>().await;
            }
        };
        // Renewed, and so used, every second and a half; Redis counts in seconds.
        let error = locks.with_lock_opts("k", &lease(4_500), section).await.unwrap_err();
        assert_eq!(error.kind(), LockErrorKind::LeaseLost, "{policy}");
        server.command(&["CONFIG", "SET", "maxmemory", "0"]);
        // Its fence was evicted with it; the next one is higher all the same.
        let next = hold(&other).await;
        let fence = u64::from(next.fencing_token());
        assert!(fence > old, "{policy}: {fence} after {old}");
        register.write(1, fence, 2).unwrap();
        assert!(register.write(0, old, 1).is_err());
        next.release().await.unwrap();
        (0..FILLERS).for_each(|number| drop(server.command(&["DEL", &format!("filler{number}")])));
        eventually(|| locks.held() + other.held() == 0).await;
        at_rest(&server);
    }
}
