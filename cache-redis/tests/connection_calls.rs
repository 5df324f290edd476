//! What calls can rely on: lanes, scripts, cancellation, the server's clock, nothing left behind.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is how a test fails")]
#![allow(clippy::print_stdout, reason = "figures, for whoever asks with --nocapture")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use cache_core::{ErrorKind, ManualClock};
use cache_redis::{Call, ConnectionState, Connections, Lane, RedisConfig, Retry, Script};
use cache_testkit::eventually;
use cache_testkit::servers::{FaultProxy, RedisServer, Reply};

const SMALL: Call = Call::new(Lane::Small);

fn config(server: &RedisServer) -> RedisConfig {
    RedisConfig::from_url(&server.url()).unwrap()
}

/// The clients that are ours, by the name they give themselves.
fn clients(server: &RedisServer) -> usize {
    let list = server.command(&["CLIENT", "LIST"]).text();
    list.lines().filter(|line| line.contains("name=cache-redis")).count()
}

fn cmd(args: &[&str]) -> redis::Cmd {
    let mut cmd = redis::Cmd::new();
    for arg in args {
        cmd.arg(arg);
    }
    cmd
}

async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while !done().await {
        assert!(Instant::now() < deadline, "never: {what}");
        // What is waited for happens in another process.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_connections_as_configured_and_none_left_behind() {
    let server = RedisServer::start();
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let connections = Connections::connect(&config(&server).connections(5)).await.unwrap();
    assert_eq!(clients(&server), 7);
    assert_eq!((connections.stats().open, connections.stats().state), (7, ConnectionState::Up));
    let other = connections.clone();
    connections.shutdown().await;
    until("closed", async || clients(&server) == 0 && tasks() == before).await;
    let error = other.query::<String>(SMALL, &cmd(&["PING"])).await.expect_err("shut down");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("shut down"), "{error}");
    assert_eq!(other.stats().state, ConnectionState::Closed);
    other.shutdown().await;

    let connections = Connections::connect(&config(&server)).await.unwrap();
    assert_eq!(clients(&server), 4);
    let clone = connections.clone();
    drop(connections);
    assert_eq!(clone.query::<String>(SMALL, &cmd(&["PING"])).await.unwrap(), "PONG");
    drop(clone);
    until("dropped", async || clients(&server) == 0 && tasks() == before).await;

    drop(Connections::connect_degraded(&config(&server)).unwrap());
    let refused = RedisConfig::from_url("redis://127.0.0.1:1").unwrap();
    assert!(Connections::connect(&refused).await.is_err());
    until("dropped at once", async || clients(&server) == 0 && tasks() == before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_lets_calls_finish() {
    let server = RedisServer::start();
    let connections = Connections::connect(&config(&server)).await.unwrap();
    let slow = Script::new(
        "local t = redis.call('TIME') local e = t[1] * 1000000 + t[2] + 60000 \
         repeat t = redis.call('TIME') until t[1] * 1000000 + t[2] > e return 'done'",
    );
    let call = {
        let connections = connections.clone();
        let slow = slow.clone();
        tokio::spawn(async move { connections.script::<String>(SMALL, &slow, &[], &[]).await })
    };
    // Until the server is at it: nothing tells from here.
    tokio::time::sleep(Duration::from_millis(20)).await;
    connections.shutdown().await;
    assert_eq!(call.await.unwrap().unwrap(), "done");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_the_server_does_not_know_is_no_failure() {
    let server = RedisServer::start();
    let connections = Connections::connect(&config(&server)).await.unwrap();
    let script = Script::new("return {KEYS[1], ARGV[1], #ARGV[2]}");
    for _ in 0..3 {
        let reply: (String, String, u64) =
            connections.script(SMALL, &script, &["key"], &[b"arg", &[0xff, 0]]).await.unwrap();
        assert_eq!(reply, ("key".to_owned(), "arg".to_owned(), 2));
        server.command(&["SCRIPT", "FLUSH"]);
    }
    assert_eq!(connections.stats().failures, 0);
    let wrong = Script::new("return redis.call('LPUSH', KEYS[1], 'x')");
    connections.query::<()>(SMALL, &cmd(&["SET", "key", "text"])).await.unwrap();
    let error =
        connections.script::<u64>(SMALL, &wrong, &["key"], &[]).await.expect_err("a string");
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Backend, false));
    assert_eq!(connections.stats().open, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipelines_errors_stand_in_their_place() {
    let server = RedisServer::start();
    let connections = Connections::connect(&config(&server)).await.unwrap();
    let mut pipeline = redis::pipe();
    pipeline
        .cmd("SET")
        .arg("key")
        .arg("text")
        .cmd("LPUSH")
        .arg("key")
        .arg("x")
        .cmd("GET")
        .arg("key");
    let mut replies = connections.pipeline(SMALL, &pipeline).await.unwrap().into_iter();
    connections.convert::<()>(replies.next().unwrap()).unwrap();
    let error = connections.convert::<u64>(replies.next().unwrap()).expect_err("a string");
    assert_eq!(error.kind(), ErrorKind::Backend);
    assert_eq!(connections.convert::<String>(replies.next().unwrap()).unwrap(), "text");
    assert_eq!(connections.pipeline(SMALL, &redis::pipe()).await.unwrap(), []);

    let error =
        connections.query::<u64>(SMALL, &cmd(&["GET", "key"])).await.expect_err("no number");
    assert_eq!(error.kind(), ErrorKind::Backend);
    assert!(!error.to_string().contains("text"), "{error}");
    assert_eq!(connections.stats().reconnects, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_values_do_not_hold_up_small_ones() {
    let server = RedisServer::start();
    let connections =
        Connections::connect(&config(&server).operation_timeout(Duration::from_secs(2)))
            .await
            .unwrap();
    let big = "x".repeat(20 << 20);
    let bulk = Call::new(Lane::Bulk);
    connections.query::<()>(bulk, &cmd(&["SET", "big", &big])).await.unwrap();
    let reader = {
        let connections = connections.clone();
        tokio::spawn(async move {
            for _ in 0..20 {
                let value: Vec<u8> = connections.query(bulk, &cmd(&["GET", "big"])).await.unwrap();
                assert_eq!(value.len(), 20 << 20);
            }
        })
    };
    let mut times = Vec::new();
    while !reader.is_finished() {
        let call = Instant::now();
        connections.query::<()>(SMALL, &cmd(&["SET", "small", "1"])).await.unwrap();
        times.push(call.elapsed());
    }
    reader.await.unwrap();
    times.sort();
    println!(
        "{} small calls beside 20 of 20 MiB: median {:?}, worst {:?}",
        times.len(),
        times[times.len() / 2],
        times[times.len() - 1]
    );
    assert_eq!(connections.stats().silent_peers, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_calls_hurt_nobody() {
    let server = RedisServer::start();
    let connections = Connections::connect(&config(&server)).await.unwrap();
    let before = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    for n in 0..2_000_u64 {
        let key = format!("k{n}");
        let set = cmd(&["SET", &key, "x"]);
        let mut call = Box::pin(connections.query::<()>(SMALL, &set));
        for _ in 0..n % 4 {
            if futures_util::FutureExt::now_or_never(&mut call).is_some() {
                break;
            }
        }
        drop(call);
        let echo: String = connections.query(SMALL, &cmd(&["ECHO", &key])).await.unwrap();
        assert_eq!(echo, key);
    }
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), before);
    assert_eq!(connections.stats().failures, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_may_run_twice_is_repeated() {
    let server = RedisServer::start();
    let proxy = FaultProxy::start(&server.url());
    // No heartbeat has a reply to lose.
    let config = RedisConfig::from_url(&proxy.url(&server.url()))
        .unwrap()
        .heartbeat_interval(Duration::from_secs(60));
    let connections = Connections::connect(&config).await.unwrap();
    // The command arrives, its reply does not, and the connection is gone: once all are there, so
    // that none has a reply to lose while it opens.
    let cut_next_reply = async |opened: u64| {
        eventually(|| proxy.connections() == opened && connections.stats().open == 4).await;
        proxy.cut_after_forwarding(1);
    };
    let script = Script::new("return redis.call('INCR', KEYS[1])");
    assert_eq!(connections.script::<u64>(SMALL, &script, &["script"], &[]).await.unwrap(), 1);
    cut_next_reply(4).await;
    let error = connections.query::<u64>(SMALL, &cmd(&["INCR", "never"])).await.expect_err("cut");
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Unavailable, true));
    assert_eq!(server.command(&["GET", "never"]), "1");
    cut_next_reply(5).await;
    let again = SMALL.retry(Retry::Once);
    assert_eq!(connections.query::<u64>(again, &cmd(&["INCR", "once"])).await.unwrap(), 2);
    cut_next_reply(6).await;
    let error = connections.script::<u64>(SMALL, &script, &["script"], &[]).await.expect_err("cut");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(server.command(&["GET", "script"]), "2");
    // That the server does not know the script is a reply as well.
    server.command(&["SCRIPT", "FLUSH"]);
    cut_next_reply(7).await;
    let error = connections.script::<u64>(SMALL, &script, &["script"], &[]).await.expect_err("cut");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(server.command(&["GET", "script"]), "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_12_loading() {
    let server = RedisServer::builder()
        .config("loading-process-events-interval-bytes 1024")
        .config("key-load-delay 500")
        .start();
    server.command(&["DEBUG", "POPULATE", "4000", "k", "100"]);
    server.command(&["SAVE"]);
    let config = config(&server);
    let connections = Connections::connect(&config).await.unwrap();
    server.kill();
    let server = Arc::new(server);
    // It waits until the server has loaded its data.
    let restart = tokio::task::spawn_blocking({
        let server = server.clone();
        move || server.restart()
    });
    let says = |reply| matches!(reply, Ok(Reply::Error(text)) if text.starts_with("LOADING"));
    eventually(|| says(server.try_command(&["PING"]))).await;
    let error = Connections::connect(&config).await.expect_err("loading");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("loading its data (LOADING)"), "{error}");
    let (mut calls, begun) = (0, Instant::now());
    while let Err(error) = connections.query::<u64>(SMALL, &cmd(&["DBSIZE"])).await {
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.is_retryable());
        calls += 1;
        assert!(begun.elapsed() < Duration::from_secs(20), "{error:?}");
        // The server loads in real time.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    println!("{calls} calls failed in {:?} of loading", begun.elapsed());
    assert_eq!(connections.query::<u64>(SMALL, &cmd(&["DBSIZE"])).await.unwrap(), 4_000);
    restart.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_13_readonly() {
    let server = RedisServer::start();
    let connections = Connections::connect(&config(&server)).await.unwrap();
    let set = cmd(&["SET", "key", "value"]);
    connections.query::<()>(SMALL, &set).await.unwrap();
    server.command(&["REPLICAOF", "127.0.0.1", "1"]);
    for _ in 0..500 {
        let error = connections.query::<()>(SMALL, &set).await.expect_err("read-only");
        assert_eq!(
            (error.kind(), error.is_retryable()),
            (ErrorKind::Unavailable, true),
            "{error:?}"
        );
        // Reads are still served.
        let call = SMALL.retry(Retry::Once);
        let value: String = connections.query(call, &cmd(&["GET", "key"])).await.unwrap();
        assert_eq!(value, "value");
    }
    assert!(connections.stats().reconnects < 20, "{:?}", connections.stats());
    server.command(&["REPLICAOF", "NO", "ONE"]);
    connections.query::<()>(SMALL, &set).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_09_out_of_memory() {
    let server = RedisServer::builder().max_memory(1 << 20, "noeviction").start();
    let connections = Connections::connect(&config(&server)).await.unwrap();
    let error = connections
        .query::<()>(Call::new(Lane::Bulk), &cmd(&["SET", "key", &"x".repeat(1 << 20)]))
        .await
        .and(connections.query::<()>(SMALL, &cmd(&["SET", "key2", "x"])).await)
        .expect_err("no room");
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Backend, true));
    assert!(error.to_string().contains("OOM"), "{error}");
    assert_eq!(connections.stats().open, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_servers_clock_is_known_whatever_ours_says() {
    let server = RedisServer::start();
    let manual = ManualClock::new();
    manual.advance(Duration::from_secs(5));
    let ahead = Connections::connect(&config(&server).clock(&manual)).await.unwrap();
    let right = Connections::connect(&config(&server)).await.unwrap();
    let uncertainty = ahead.clock_uncertainty().unwrap() + right.clock_uncertainty().unwrap();
    println!(
        "offsets {} and {} µs, uncertainty {uncertainty:?}",
        ahead.offset_micros(),
        right.offset_micros()
    );
    assert!(uncertainty < Duration::from_millis(20), "{uncertainty:?}");
    assert!(ahead.offset_micros() < -4_900_000);
    let (a, b) = (ahead.server_now().as_micros(), right.server_now().as_micros());
    // The manual clock stands still since the first connection.
    assert!(b.abs_diff(a) < 200_000, "{a} {b}");
}

/// A reply that nobody waits for any more still has to come in before the next.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_with_a_reply_that_came_too_late_is_passed_over() {
    const LARGE: usize = 4 * 1024 * 1024;
    let server = RedisServer::start();
    server.command(&["SET", "small", "1"]);
    server.command(&["SET", "large", &"x".repeat(LARGE)]);
    let proxy = FaultProxy::start(&server.url());
    let config = RedisConfig::from_url(&proxy.url(&server.url())).unwrap();
    let connections = Connections::connect(&config).await.unwrap();
    // Two seconds for the large one alone.
    proxy.bandwidth(LARGE as u64 / 2);
    let get = |key| {
        let mut get = redis::cmd("GET");
        get.arg(key);
        get
    };
    let began = Instant::now();
    let large = connections.query::<String>(SMALL, &get("large")).await;
    assert_eq!(large.unwrap_err().kind(), ErrorKind::Timeout);
    let patient = SMALL.budget(Duration::from_secs(1));
    while began.elapsed() < Duration::from_millis(900) {
        // However many at once.
        let pair = [get("small"), get("small")];
        let [one, two] = pair.each_ref().map(|get| connections.query::<u64>(patient, get));
        let (one, two) = tokio::join!(one, two);
        assert_eq!((one.unwrap(), two.unwrap()), (1, 1));
    }
}
