//! A server that stops, hangs, disappears, restarts or changes its password.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is how a test fails")]
#![allow(clippy::print_stdout, reason = "figures, for whoever asks with --nocapture")]

use std::time::{Duration, Instant};

use cache_core::ErrorKind;
use cache_redis::{Call, ConnectionState, Connections, Lane, RedisConfig, Retry};
use cache_testkit::servers::{Direction, FaultProxy, RedisServer};

const SMALL: Call = Call::new(Lane::Small);
const BUDGET: Duration = Duration::from_millis(250);
const SLACK: Duration = Duration::from_millis(100);
const HEAL: Duration = Duration::from_secs(2);

fn config(url: &str) -> RedisConfig {
    RedisConfig::from_url(url).unwrap()
}

async fn get(connections: &Connections) -> Result<Option<String>, cache_core::CacheError> {
    let mut get = redis::cmd("GET");
    get.arg("key");
    connections.query(SMALL.retry(Retry::Once), &get).await
}

/// How long until a call succeeds; each call within its budget.
async fn healed(connections: &Connections) -> Duration {
    let start = Instant::now();
    loop {
        let call = Instant::now();
        let answer = get(connections).await;
        assert!(call.elapsed() < BUDGET + SLACK, "a call took {:?}", call.elapsed());
        if answer.is_ok() {
            return start.elapsed();
        }
        assert!(start.elapsed() < HEAL, "not healed: {answer:?} {connections:?}");
        // Healing is real time: it is what is measured.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Calls until they fail at once, then the median of 1,000 of them.
async fn median_while_down(connections: &Connections) -> Duration {
    let start = Instant::now();
    while connections.stats().state != ConnectionState::Down {
        let call = Instant::now();
        assert!(get(connections).await.is_err());
        assert!(call.elapsed() < BUDGET + SLACK, "a call took {:?}", call.elapsed());
        assert!(start.elapsed() < Duration::from_secs(4), "never down: {connections:?}");
    }
    let mut times = Vec::new();
    for _ in 0..1_000 {
        let call = Instant::now();
        let error = get(connections).await.expect_err("the server is away");
        times.push(call.elapsed());
        assert!(error.is_retryable(), "{error}");
    }
    times.sort();
    println!("down: median {:?}, 99 % {:?}, worst {:?}", times[500], times[990], times[999]);
    assert!(times[999] < BUDGET + SLACK);
    times[500]
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_01_nothing_listens() {
    let server = RedisServer::start();
    server.stop();
    let addr = server.addr();
    let url = format!("redis://app:hunter2secret@{addr}/1");
    let start = Instant::now();
    let error = Connections::connect(&config(&url)).await.expect_err("nothing listens");
    assert!(start.elapsed() < HEAL);
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains(&addr.to_string()), "{error}");
    assert!(!format!("{error} {error:?}").contains("hunter2secret"), "{error:?}");

    let degraded = Connections::connect_degraded(&config(&url.replace("app:hunter2secret@", "")))
        .expect("starts anyway");
    assert!(get(&degraded).await.is_err());
    server.restart();
    println!("degraded start healed after {:?}", healed(&degraded).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_02_stopped_while_running() {
    let server = RedisServer::start();
    let connections = Connections::connect(&config(&server.url())).await.unwrap();
    assert_eq!(get(&connections).await.unwrap(), None);
    server.kill();
    let median = median_while_down(&connections).await;
    assert!(median < Duration::from_micros(100), "{median:?}");
    server.restart();
    println!("restart healed after {:?}", healed(&connections).await);
    assert_eq!(connections.stats().state, ConnectionState::Up);
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_03_sigstop() {
    let server = RedisServer::start();
    let connections = Connections::connect(&config(&server.url())).await.unwrap();
    server.pause();
    let median = median_while_down(&connections).await;
    assert!(median < Duration::from_micros(100), "{median:?}");
    assert!(connections.stats().silent_peers > 0);
    server.resume();
    println!("SIGCONT healed after {:?}", healed(&connections).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_04_black_hole() {
    let server = RedisServer::start();
    let proxy = FaultProxy::start(&server.url());
    let connections = Connections::connect(&config(&proxy.url(&server.url()))).await.unwrap();
    assert_eq!(get(&connections).await.unwrap(), None);
    proxy.black_hole(Direction::Both);
    let median = median_while_down(&connections).await;
    assert!(median < Duration::from_micros(100), "{median:?}");
    proxy.heal();
    println!("black hole healed after {:?}", healed(&connections).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_06_restarted_between_two_calls() {
    let server = RedisServer::start();
    let connections = Connections::connect(&config(&server.url())).await.unwrap();
    for _ in 0..5 {
        server.kill();
        server.restart();
        println!("restart healed after {:?}", healed(&connections).await);
    }
    let list = server.command(&["CLIENT", "LIST"]).text();
    assert!(list.lines().filter(|line| line.contains("name=cache-redis")).count() <= 4, "{list}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_connection_costs_no_failure() {
    let server = RedisServer::start();
    let connections = Connections::connect(&config(&server.url())).await.unwrap();
    for round in 0..4 {
        server.disconnect_clients();
        assert_eq!(get(&connections).await.unwrap(), None, "round {round}");
    }
    assert!(connections.stats().reconnects >= 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_08_password_rotated_and_back() {
    let server = RedisServer::builder().password("old-secret").start();
    let connections = Connections::connect(&config(&server.url())).await.unwrap();
    server.set_password("new-secret");
    server.disconnect_clients();
    median_while_down(&connections).await;
    let fault = connections.stats().last_fault.unwrap();
    assert!(fault.contains("WRONGPASS") && !fault.contains("old-secret"), "{fault}");
    // Long enough for many refused attempts, one of which must not be the last.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(get(&connections).await.is_err());
    server.set_password("old-secret");
    println!("password healed after {:?}", healed(&connections).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn paused_under_load_no_call_outlives_its_budget() {
    let server = RedisServer::start();
    let connections = Connections::connect(&config(&server.url())).await.unwrap();
    let end = Instant::now() + Duration::from_secs(4);
    let tasks: Vec<_> = (0..200)
        .map(|_| {
            let connections = connections.clone();
            tokio::spawn(async move {
                let (mut worst, mut calls, mut failed) = (Duration::ZERO, 0, 0);
                while Instant::now() < end {
                    let call = Instant::now();
                    let answer = get(&connections).await;
                    worst = worst.max(call.elapsed());
                    calls += 1;
                    if answer.is_err() {
                        failed += 1;
                        // A caller that fails in microseconds would take the cores.
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                }
                (worst, calls, failed)
            })
        })
        .collect();
    // How long the load runs, stands and runs again is the scenario.
    tokio::time::sleep(Duration::from_millis(500)).await;
    server.pause();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    server.resume();
    let (mut worst, mut calls, mut failed) = (Duration::ZERO, 0, 0);
    for task in tasks {
        let (w, c, f) = task.await.unwrap();
        (worst, calls, failed) = (worst.max(w), calls + c, failed + f);
    }
    println!("{calls} calls, {failed} failed, worst {worst:?}");
    assert!(worst < BUDGET + SLACK, "{worst:?}");
    assert!(get(&connections).await.is_ok());
}
