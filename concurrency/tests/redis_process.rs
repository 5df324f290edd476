//! Holders in other processes, which are halted and killed.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "test code, also outside of tests")]

mod redis_common;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use cache_concurrency::RedisConcurrencyService;
use cache_core::{ConcurrencyService, ConcurrencyServiceExt, FencingToken, LockOptions};
use cache_redis::{Call, Lane};
use cache_testkit::RedisServer;
use redis_common::{at_rest, lease, pttl, service};

const LEASE: u64 = 800;

/// Not a test: the other process. Holds `k`, and says on its output what happens to it.
#[test]
#[ignore = "run by the tests of this file, in a process of its own"]
fn holder() {
    let Ok(url) = std::env::var("LOCK_HOLDER_URL") else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let locks = service(&url).await;
        let say = |what: String| {
            let mut out = std::io::stdout();
            writeln!(out, "\n> {what}").and_then(|()| out.flush()).unwrap();
        };
        let section = |held: cache_core::HeldLock| async move {
            say(format!("held {}", held.fencing_token()));
            // Many await points, as a section has them. Real time is what it is about.
            loop {
                tokio::time::sleep(Duration::from_millis(1)).await;
                if held.check().is_err() {
                    say("polled after its lease".to_owned());
                }
            }
        };
        let options = LockOptions::default().lease(Duration::from_millis(LEASE));
        let options = options.max_hold(Duration::from_secs(60));
        let outcome: Result<(), _> = locks.with_lock_opts("k", &options, section).await;
        say(format!("ended {:?}", outcome.unwrap_err().kind()));
    });
}

const TASKS: u64 = 50;
const SECTIONS: u64 = 25;

/// Not a test: one of the processes that count under one lock.
#[test]
#[ignore = "run by the tests of this file, in a process of its own"]
fn counter() {
    let Ok(url) = std::env::var("LOCK_HOLDER_URL") else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let locks = service(&url).await;
        let options = LockOptions::default().wait(Duration::from_secs(120));
        let tasks = (0..TASKS).map(|_| async {
            for _ in 0..SECTIONS {
                let section = |held: cache_core::HeldLock| count(&locks, held.fencing_token());
                locks.with_lock_opts("k", &options, section).await.unwrap();
            }
        });
        futures_util::future::join_all(tasks).await;
    });
}

/// Reads and writes in two steps: two at once would lose a count.
async fn count(locks: &RedisConcurrencyService, fence: FencingToken) {
    const CALL: Call = Call::new(Lane::Small).budget(Duration::from_secs(10));
    let (redis, fence) = (locks.connections(), u64::from(fence));
    let mut read = redis::cmd("MGET");
    read.arg("count").arg("fence");
    let (count, last): (Option<u64>, Option<u64>) = redis.query(CALL, &read).await.unwrap();
    assert!(fence > last.unwrap_or(0), "a fence that is not above the last one");
    let mut write = redis::cmd("MSET");
    write.arg("count").arg(count.unwrap_or(0) + 1).arg("fence").arg(fence);
    redis.query::<()>(CALL, &write).await.unwrap();
}

/// Another process, which runs the named function above; killed when dropped.
struct Holder {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Holder {
    fn start(server: &RedisServer) -> Self {
        Self::run("holder", server)
    }

    fn run(what: &str, server: &RedisServer) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", what, "--ignored", "--nocapture", "--test-threads=1"])
            .env("LOCK_HOLDER_URL", server.url())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The next thing it says.
    fn says(&mut self) -> String {
        let said = self.lines.by_ref().map(Result::unwrap).find(|line| line.starts_with("> "));
        said.expect("it says something").split_off(2)
    }

    fn signal(&self, signal: &str) {
        let kill = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(kill.unwrap().success());
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_25_a_holder_halted_past_its_lease_does_not_go_on() {
    let server = RedisServer::start();
    let locks = service(&server.url()).await;
    let mut holder = Holder::start(&server);
    let old = holder.says();
    holder.signal("-STOP");
    let guard = locks.acquire("k", &lease(5000)).await.unwrap();
    let fence: u64 = old.strip_prefix("held ").unwrap().parse().unwrap();
    assert!(u64::from(guard.fencing_token()) > fence, "a fenced resource would refuse the old one");
    holder.signal("-CONT");
    // Not a poll of the section in between.
    assert_eq!(holder.says(), "ended LeaseLost");
    guard.check().unwrap();
    guard.release().await.unwrap();
    at_rest(&server);
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_27_the_lock_of_a_killed_holder_is_free_when_its_lease_is_over() {
    let server = RedisServer::start();
    // No event tells of the end: only what is asked.
    server.command(&["DEBUG", "SET-ACTIVE-EXPIRE", "0"]);
    let locks = service(&server.url()).await;
    let mut holder = Holder::start(&server);
    assert!(holder.says().starts_with("held "));
    // Real time: renewals come and go.
    tokio::time::sleep(Duration::from_millis(LEASE)).await;
    let waiter = tokio::spawn(async move {
        let guard = locks.acquire("k", &lease(5000)).await.unwrap();
        (Instant::now(), guard)
    });
    tokio::time::sleep(Duration::from_millis(LEASE)).await;
    assert!(!waiter.is_finished(), "a live holder was robbed");
    holder.signal("-KILL");
    let over = Instant::now() + Duration::from_millis(u64::try_from(pttl(&server)).unwrap());
    let (when, guard) = waiter.await.unwrap();
    assert!(when <= over + Duration::from_millis(300), "{:?} late", when - over);
    guard.release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_06_and_34_eight_processes_count_while_scripts_are_flushed() {
    const PROCESSES: u64 = 8;
    let server = RedisServer::start();
    let mut counters: Vec<_> = (0..PROCESSES).map(|_| Holder::run("counter", &server)).collect();
    let ended = |counter: &mut Holder| counter.child.try_wait().unwrap();
    while counters.iter_mut().any(|counter| ended(counter).is_none()) {
        server.command(&["SCRIPT", "FLUSH"]);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    for counter in &mut counters {
        assert!(ended(counter).unwrap().success(), "a process failed");
    }
    let sections = PROCESSES * TASKS * SECTIONS;
    assert_eq!(server.command(&["GET", "count"]).text(), sections.to_string());
    server.command(&["DEL", "count", "fence"]);
    at_rest(&server);
}
