//! Holders in other processes, which are halted and killed.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "test code, also outside of tests")]

mod redis_common;

use std::io::{BufRead, BufReader, Write};
use std::time::{Duration, Instant};

use cache_concurrency::RedisConcurrencyService;
use cache_core::{ConcurrencyService, ConcurrencyServiceExt, FencingToken, LockOptions};
use cache_redis::{Call, Lane};
use cache_testkit::{RedisServer, eventually};
use redis_common::process::{Process, listen, process, say};
use redis_common::{at_rest, hold, lease, listening, patient, pttl, queued, service};

const LEASE: u64 = 800;

/// Not a test: the other process. Holds `k`, and says on its output what happens to it.
#[test]
#[ignore = "run by the tests of this file, in a process of its own"]
fn holder() {
    process(async |url| {
        let locks = service(&url).await;
        let section = |held: cache_core::HeldLock| async move {
            say(&format!("held {}", held.fencing_token()));
            // Many await points, as a section has them. Real time is what it is about.
            loop {
                tokio::time::sleep(Duration::from_millis(1)).await;
                if held.check().is_err() {
                    say("polled after its lease");
                }
            }
        };
        let options = LockOptions::default().lease(Duration::from_millis(LEASE));
        let options = options.max_hold(Duration::from_secs(60));
        let outcome: Result<(), _> = locks.with_lock_opts("k", &options, section).await;
        say(&format!("ended {:?}", outcome.unwrap_err().kind()));
    });
}

/// Writes to a register in Redis that refuses lower fences, without an await. Whether it was taken.
fn write_fenced(url: &str, fence: u64) -> bool {
    const WRITE: &str = "local seen = tonumber(redis.call('GET', 'register') or '0') \
        if seen > tonumber(ARGV[1]) then return 0 end \
        redis.call('SET', 'register', ARGV[1]) return 1";
    let address = url.strip_prefix("redis://").unwrap();
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(stream, "EVAL \"{WRITE}\" 0 {fence}\r\n").unwrap();
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).unwrap();
    let answer = answer.trim_end();
    assert!(matches!(answer, ":0" | ":1"), "{answer}");
    answer == ":1"
}

/// Not a test: the other process. Holds `k`, and writes when it is told to, all in one poll.
#[test]
#[ignore = "run by the tests of this file, in a process of its own"]
fn writer() {
    process(async |url| {
        let locks = service(&url).await;
        let section = |held: cache_core::HeldLock| {
            let url = url.clone();
            async move {
                let fence = u64::from(held.fencing_token());
                held.check().unwrap();
                say(&format!("held {fence} {}", write_fenced(&url, fence)));
                // Between its last look at the lease and its write.
                listen();
                say(&format!("wrote {}", write_fenced(&url, fence)));
                std::future::pending::<()>().await;
            }
        };
        let options = LockOptions::default().lease(Duration::from_millis(LEASE));
        let outcome: Result<(), _> = locks.with_lock_opts("k", &options, section).await;
        say(&format!("ended {:?}", outcome.unwrap_err().kind()));
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_25_what_a_halted_holder_writes_late_is_refused() {
    let server = RedisServer::start();
    let locks = service(&server.url()).await;
    let mut writer = Process::run("writer", &server);
    let old = writer.says();
    assert!(old.starts_with("held ") && old.ends_with(" true"), "{old}");
    writer.halt();
    let guard = locks.acquire("k", &lease(5000)).await.unwrap();
    let fence = u64::from(guard.fencing_token());
    assert!(write_fenced(&server.url(), fence));
    writer.tell("go on");
    writer.go_on();
    assert_eq!(writer.says(), "wrote false");
    assert_eq!(writer.says(), "ended LeaseLost");
    assert_eq!(server.command(&["GET", "register"]).text(), fence.to_string());
    guard.check().unwrap();
    guard.release().await.unwrap();
    server.command(&["DEL", "register"]);
    at_rest(&server);
}

const TASKS: u64 = 50;
const SECTIONS: u64 = 25;

/// Not a test: one of the processes that count under one lock.
#[test]
#[ignore = "run by the tests of this file, in a process of its own"]
fn counter() {
    process(async |url| {
        let locks = patient(&url).await;
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

#[tokio::test(flavor = "multi_thread")]
async fn p4_25_a_holder_halted_past_its_lease_does_not_go_on() {
    let server = RedisServer::start();
    let locks = service(&server.url()).await;
    let mut holder = Process::run("holder", &server);
    let old = holder.says();
    holder.halt();
    let guard = locks.acquire("k", &lease(5000)).await.unwrap();
    let fence: u64 = old.strip_prefix("held ").unwrap().parse().unwrap();
    assert!(u64::from(guard.fencing_token()) > fence, "a fenced resource would refuse the old one");
    holder.go_on();
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
    let mut holder = Process::run("holder", &server);
    assert!(holder.says().starts_with("held "));
    // Real time: renewals come and go.
    tokio::time::sleep(Duration::from_millis(LEASE)).await;
    let waiter = tokio::spawn(async move {
        let guard = locks.acquire("k", &lease(5000)).await.unwrap();
        (Instant::now(), guard)
    });
    // Real time: a lease in which the waiter gets nowhere.
    tokio::time::sleep(Duration::from_millis(LEASE)).await;
    assert!(!waiter.is_finished(), "a live holder was robbed");
    holder.kill();
    let over = Instant::now() + Duration::from_millis(u64::try_from(pttl(&server)).unwrap());
    let (when, guard) = waiter.await.unwrap();
    assert!(when <= over + Duration::from_millis(300), "{:?} late", when - over);
    guard.release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_06_and_34_eight_processes_count_while_scripts_are_flushed() {
    const PROCESSES: u64 = 8;
    let server = RedisServer::start();
    let mut counters: Vec<_> = (0..PROCESSES).map(|_| Process::run("counter", &server)).collect();
    let ended = |counter: &mut Process| counter.ended();
    while counters.iter_mut().any(|counter| ended(counter).is_none()) {
        server.command(&["SCRIPT", "FLUSH"]);
        // Real time: as often as a server can be asked, and not oftener.
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

#[tokio::test(flavor = "multi_thread")]
async fn p4_26_a_head_waiter_that_hangs_costs_the_others_its_claim() {
    let server = RedisServer::start();
    let (locks, other) = (service(&server.url()).await, service(&server.url()).await);
    let guard = hold(&locks).await;
    let mut head = Process::run("holder", &server);
    eventually(|| listening(&server) == 1).await;
    let waiter = tokio::spawn(async move { hold(&other).await });
    eventually(|| listening(&server) == 2).await;
    head.halt();
    let (began, first) = (Instant::now(), guard.fencing_token());
    guard.release().await.unwrap();
    let next = waiter.await.unwrap();
    // Its claim is its lease, and the next asks once a second.
    let bound = Duration::from_millis(LEASE) + Duration::from_secs(1);
    assert!(began.elapsed() < bound, "{:?}", began.elapsed());
    // The lock was the halted one's in between; it does not take the old message for a grant.
    assert!(u64::from(next.fencing_token()) > u64::from(first) + 1);
    head.go_on();
    // Real time: what it would do wrong it would do at once.
    tokio::time::sleep(Duration::from_millis(200)).await;
    next.check().unwrap();
    let fence = u64::from(next.fencing_token());
    next.release().await.unwrap();
    let late: u64 = head.says().strip_prefix("held ").unwrap().parse().unwrap();
    assert!(late > fence, "{late} after {fence}");
    head.kill();
    eventually(|| pttl(&server) < 0).await;
    at_rest(&server);
}

/// Not a test: waits for `k` with the lease that is usual, and says when it has it.
#[test]
#[ignore = "run by the tests of this file, in a process of its own"]
fn waiter() {
    process(async |url| {
        let guard = hold(&patient(&url).await).await;
        say(&format!("held {}", guard.fencing_token()));
        guard.release().await.unwrap();
        say("done");
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_26_several_behind_a_waiter_that_hangs_have_their_turns_after_two_seconds() {
    let server = RedisServer::start();
    let locks = patient(&server.url()).await;
    let guard = hold(&locks).await;
    let mut head = Process::run("waiter", &server);
    eventually(|| listening(&server) == 1).await;
    let mut waiters = Vec::new();
    for number in 0..4 {
        let other = patient(&server.url()).await;
        waiters.push(tokio::spawn(async move {
            let guard = hold(&other).await;
            let fence = guard.fencing_token();
            guard.release().await.unwrap();
            (fence, Instant::now())
        }));
        eventually(|| listening(&server) == number + 2).await;
    }
    head.halt();
    let (began, mut last) = (Instant::now(), guard.fencing_token());
    guard.release().await.unwrap();
    for waiter in waiters {
        let (fence, when) = waiter.await.unwrap();
        assert!(fence > last, "not in the order of arrival");
        last = fence;
        // Its claim, and the next asks once a second.
        assert!(when - began < Duration::from_millis(3_300), "{:?}", when - began);
    }
    head.go_on();
    let late: u64 = head.says().strip_prefix("held ").unwrap().parse().unwrap();
    assert!(late > u64::from(last), "{late} after {last}");
    assert_eq!(head.says(), "done");
    at_rest(&server);
}

/// So many in each of so many processes.
const DEAD: usize = 17;
const PROCESSES: usize = 3;

/// Not a test: many who wait, one behind the other.
#[test]
#[ignore = "run by the tests of this file, in a process of its own"]
fn waiters() {
    process(async |url| {
        let waiters = (0..DEAD).map(|_| async { drop(hold(&patient(&url).await).await) });
        futures_util::future::join_all(waiters).await;
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_28_waiters_that_were_killed_are_passed_over_at_once() {
    let server = RedisServer::start();
    let (locks, other) = (service(&server.url()).await, service(&server.url()).await);
    let guard = hold(&locks).await;
    let mut dead: Vec<_> = (0..PROCESSES).map(|_| Process::run("waiters", &server)).collect();
    // Until a process hears of its turn it cannot be seen to be gone.
    eventually(|| listening(&server) == DEAD * PROCESSES).await;
    let waiter = tokio::spawn(async move { (hold(&other).await, Instant::now()) });
    eventually(|| listening(&server) == DEAD * PROCESSES + 1).await;
    dead.iter_mut().for_each(Process::kill);
    let (began, fence) = (Instant::now(), guard.fencing_token());
    guard.release().await.unwrap();
    let (next, when) = waiter.await.unwrap();
    assert!(when - began < Duration::from_millis(100), "{:?}", when - began);
    assert!(next.fencing_token() > fence);
    next.release().await.unwrap();
    // They were told apart from the living by nobody's hearing; their places end by themselves.
    eventually(|| queued(&server) == 0).await;
    at_rest(&server);
}
