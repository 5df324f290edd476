//! Scenario 40: a Redis that takes no writes, while a lock is held and waited for.
#![allow(clippy::unwrap_used, reason = "test code, also outside of test functions")]

mod redis_common;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use cache_core::{ConcurrencyService, LockErrorKind};
use cache_testkit::{RedisServer, eventually, eventually_async};
use redis_common::{at_rest, holder, lease, patient, queued, scripts};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Refusal {
    Misconf,
    NoReplicas,
    Oom,
    ReadOnly,
}

impl Refusal {
    async fn begin(self, server: &RedisServer) {
        match self {
            Self::Misconf => {
                server.command(&["CONFIG", "SET", "save", "3600 1"]);
                // A file cannot take the place of a directory.
                std::fs::create_dir(Self::dump(server)).unwrap();
                Self::saves(server, "err").await;
            }
            Self::NoReplicas => {
                drop(server.command(&["CONFIG", "SET", "min-replicas-to-write", "1"]));
            }
            Self::Oom => drop(server.command(&["CONFIG", "SET", "maxmemory", "1"])),
            Self::ReadOnly => drop(server.command(&["REPLICAOF", "127.0.0.1", "1"])),
        }
    }

    async fn end(self, server: &RedisServer) {
        match self {
            Self::Misconf => {
                std::fs::remove_dir(Self::dump(server)).unwrap();
                Self::saves(server, "ok").await;
            }
            Self::NoReplicas => {
                drop(server.command(&["CONFIG", "SET", "min-replicas-to-write", "0"]));
            }
            Self::Oom => drop(server.command(&["CONFIG", "SET", "maxmemory", "0"])),
            Self::ReadOnly => drop(server.command(&["REPLICAOF", "NO", "ONE"])),
        }
    }

    fn dump(server: &RedisServer) -> PathBuf {
        let dir = server.command(&["CONFIG", "GET", "dir"]);
        PathBuf::from(dir.list()[1].text()).join("dump.rdb")
    }

    async fn saves(server: &RedisServer, outcome: &str) {
        server.command(&["BGSAVE"]);
        let status = || server.info("persistence")["rdb_last_bgsave_status"].clone();
        eventually(|| status() == outcome).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_40_a_refusal_is_told_and_outlasted_with_a_holder_and_a_waiter() {
    for refusal in [Refusal::Misconf, Refusal::NoReplicas, Refusal::Oom, Refusal::ReadOnly] {
        let server = RedisServer::start();
        let (locks, other) = (patient(&server.url()).await, patient(&server.url()).await);
        let guard = locks.acquire("k", &lease(20_000)).await.unwrap();
        let token = holder(&server);
        let waiter = tokio::spawn(async move { other.acquire("k", &lease(20_000)).await });
        eventually(|| queued(&server) == 1).await;
        // A server that cannot save refuses even `PING`, so it connects before.
        let newcomer = patient(&server.url()).await;
        refusal.begin(&server).await;
        server.reset_commandstats();
        let tried = locks.try_acquire("k", &lease(20_000)).await;
        assert!(tried.unwrap().is_none(), "{refusal:?}: held by this very process");
        let error = newcomer.acquire("k", &lease(20_000)).await.map(drop).unwrap_err();
        assert_eq!(error.kind(), LockErrorKind::Unavailable, "{refusal:?}: {error}");
        // Real time: the waiter asks once a second, and what was refused is tried again.
        tokio::time::sleep(Duration::from_millis(1200)).await;
        assert_eq!(holder(&server), token, "{refusal:?}");
        guard.check().unwrap();
        // A waiter bears it for a second, with growing pauses; what it asked is taken back, in vain.
        let asked = scripts(&server);
        assert!(asked <= 100, "{refusal:?}: a storm of {asked}");

        let released = guard.release().await;
        if refusal != Refusal::Oom {
            // What needs no room is done without any.
            let error = released.unwrap_err();
            assert_eq!(error.kind(), LockErrorKind::Unavailable, "{refusal:?}: {error}");
            assert_eq!(holder(&server), token, "{refusal:?}");
        }
        refusal.end(&server).await;
        if let Ok(guard) =
            tokio::time::timeout(Duration::from_secs(5), waiter).await.unwrap().unwrap()
        {
            let _ = guard.release().await;
        }
        // By the release that was refused, long before the lease is over.
        let began = Instant::now();
        eventually(|| holder(&server).is_none() && queued(&server) == 0).await;
        assert!(began.elapsed() < Duration::from_secs(5), "{refusal:?}: {:?}", began.elapsed());
        eventually_async(async || locks.acquire("k", &lease(1000)).await.is_ok()).await;
        eventually(|| holder(&server).is_none()).await;
        at_rest(&server);
    }
}
