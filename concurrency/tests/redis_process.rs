//! Holders in other processes, which are halted and killed.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "test code, also outside of tests")]

mod redis_common;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use cache_core::{ConcurrencyService, ConcurrencyServiceExt, LockOptions};
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

/// The other process; killed when dropped.
struct Holder {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Holder {
    fn start(server: &RedisServer) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "holder", "--ignored", "--nocapture", "--test-threads=1"])
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
