//! A fleet of processes that want one lock all the time. `LOCK_FLEET_SECONDS` makes it sixteen, for so long.
#![allow(clippy::unwrap_used, reason = "test code, also outside of test functions")]

mod redis_common;

use std::time::{Duration, Instant};

use cache_core::{ConcurrencyServiceExt, HeldLock, LockOptions};
use cache_redis::{Call, Lane};
use cache_testkit::RedisServer;
use redis_common::process::{Process, listen, process, say};
use redis_common::{at_rest, attempts, patient};

/// How many processes, and for how long. Real time: how many sections fit into it is what is compared.
fn terms() -> (usize, Duration) {
    match std::env::var("LOCK_FLEET_SECONDS") {
        Ok(seconds) => (16, Duration::from_secs(seconds.parse().unwrap())),
        Err(_) => (8, Duration::from_secs(3)),
    }
}

/// Not a test: one of the processes. Says how often it had the lock.
#[test]
#[ignore = "run by the test of this file, in a process of its own"]
fn looper() {
    process(async |url| {
        let locks = patient(&url).await;
        // It hears of hand-overs from here on.
        let options = LockOptions::default().wait(Duration::from_secs(60));
        // Real time: how long a section takes, so that others queue meanwhile.
        let warm = async |_: HeldLock| tokio::time::sleep(Duration::from_millis(20)).await;
        locks.with_lock_opts("warm", &options, warm).await.unwrap();
        say("ready");
        listen();
        let (mut sections, mut last, end) = (0_u64, 0, Instant::now() + terms().1);
        while Instant::now() < end {
            let section = async |held: HeldLock| {
                // Two at once would lose a count.
                const CALL: Call = Call::new(Lane::Small).budget(Duration::from_secs(10));
                let redis = locks.connections();
                let mut read = redis::cmd("GET");
                read.arg("count");
                let count: Option<u64> = redis.query(CALL, &read).await.unwrap();
                // Real time: a second holder would read the same count meanwhile.
                tokio::time::sleep(Duration::from_millis(1)).await;
                let mut write = redis::cmd("MSET");
                write.arg("count").arg(count.unwrap_or(0) + 1);
                redis.query::<()>(CALL, &write).await.unwrap();
                u64::from(held.fencing_token())
            };
            let fence = locks.with_lock_opts("k", &options, section).await.unwrap();
            assert!(fence > last, "a fence that does not increase");
            (last, sections) = (fence, sections + 1);
        }
        say(&sections.to_string());
    });
}

#[test]
fn p4_08_each_process_has_its_share() {
    let server = RedisServer::start();
    let mut processes: Vec<_> = (0..terms().0).map(|_| Process::run("looper", &server)).collect();
    for process in &mut processes {
        assert_eq!(process.says(), "ready");
    }
    server.reset_commandstats();
    processes.iter_mut().for_each(|process| process.tell("go"));
    let shares: Vec<u64> =
        processes.iter_mut().map(|process| process.says().parse().unwrap()).collect();
    let sections: u64 = shares.iter().sum();
    assert_eq!(server.command(&["GET", "count"]).text(), sections.to_string());
    let (least, most) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
    assert!(*most * 10 <= *least * 12, "{shares:?}");
    let attempts = attempts(&server);
    println!("{attempts} attempts for {sections} sections: {shares:?}");
    assert!(attempts * 10 <= sections * 11, "{attempts} attempts for {sections} sections");
    server.command(&["DEL", "count"]);
    at_rest(&server);
}
