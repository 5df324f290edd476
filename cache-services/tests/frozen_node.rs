//! P2 where a node's own tasks do not run: what it holds near is not served on waking, for nobody
//! has told it meanwhile.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is how a test fails")]

mod nodes;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use cache_core::{CacheServiceExt, CacheStore};
use cache_hybrid::HybridCache;
use cache_redis::RedisConfig;
use cache_testkit::{RedisServer, eventually};
use nodes::{LASTING, Node, Parts, config};

const URL: &str = "FROZEN_NODE_URL";
/// Heartbeat interval and timeout of the nodes here: no hit is older than both.
const BEAT: Duration = Duration::from_millis(300);
const BOUND: Duration = Duration::from_millis(600);

fn beating(url: &str) -> RedisConfig {
    config(url)
        .operation_timeout(Duration::from_secs(5))
        .heartbeat_interval(BEAT)
        .heartbeat_timeout(BEAT)
}

async fn node(url: &str) -> Node {
    Node::of(beating(url), Parts::default(), |tiers| tiers).await.in_service().await
}

/// What the near tier answers with.
fn near(cache: &HybridCache) -> Option<u64> {
    cache.tiers().peek_fresh("k").map(|entry| entry.decode().unwrap())
}

fn say(what: &str) {
    let mut out = std::io::stdout();
    writeln!(out, "\n> {what}").and_then(|()| out.flush()).unwrap();
}

/// Not a test: a process that holds `k` near and looks at it again and again. It says what it
/// finds in the moments after it was frozen.
#[test]
#[ignore = "run by the tests of this file, in a process of its own"]
fn holder() {
    let Ok(url) = std::env::var(URL) else { return };
    // Its tasks do not run while it looks: as when the one that looks is the first to wake.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let node = runtime.block_on(node(&url));
    assert_eq!(runtime.block_on(node.get("k")), Some(1));
    let cache = node.cache.clone();
    assert_eq!(near(&cache), Some(1));
    let (mut last, mut woken) = (Instant::now(), Instant::now());
    say("holds");
    // Until it was frozen between the two.
    while woken - last < BOUND * 2 {
        (last, woken) = (woken, Instant::now());
    }
    let (mut looks, mut old) = (0, 0);
    while woken.elapsed() < BOUND {
        looks += 1;
        old += u64::from(near(&cache) == Some(1));
    }
    say(&format!("{} old {}", old, runtime.block_on(node.get("k")).unwrap()));
    assert!(looks > 0);
    say("done");
}

/// Another process, which runs the named function above; killed when dropped.
struct Process {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Process {
    fn start(what: &str, server: &RedisServer) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", what, "--ignored", "--nocapture", "--test-threads=1"])
            .env(URL, server.url())
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
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_a_process_that_was_frozen_serves_nothing_old_when_it_wakes() {
    let server = RedisServer::start();
    let a = node(&server.url()).await;
    a.set("k", 1).await;
    let mut frozen = Process::start("holder", &server);
    assert_eq!(frozen.says(), "holds");
    frozen.signal("-STOP");
    server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    a.set("k", 2).await;
    // Real time: what it last heard of the bus must be out of date when it wakes.
    tokio::time::sleep(BOUND * 3).await;
    frozen.signal("-CONT");
    assert_eq!(frozen.says(), "0 old 2");
    assert_eq!(frozen.says(), "done");
}

/// A node whose runtime is in the hands of the test.
fn on_a_runtime_of_its_own(url: &str) -> (tokio::runtime::Runtime, Node) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.unwrap();
    let node = runtime.block_on(node(url));
    (runtime, node)
}

#[test]
fn p2_a_node_whose_runtime_is_blocked_serves_for_the_bound_and_no_longer() {
    let server = RedisServer::start();
    let (runtime, node) = on_a_runtime_of_its_own(&server.url());
    runtime.block_on(node.set("k", 1));
    assert_eq!(near(&node.cache), Some(1));
    let (release, blocked) = mpsc::channel::<()>();
    let blocking = runtime.spawn(async move {
        // The only worker.
        let _ = blocked.recv();
    });
    let begun = Instant::now();
    while node.serves() {
        assert!(begun.elapsed() < BOUND * 2, "still served after {:?}", begun.elapsed());
        std::thread::yield_now();
    }
    assert_eq!(near(&node.cache), None);
    assert!(!node.stats().bus_up);
    release.send(()).unwrap();
    runtime.block_on(async {
        blocking.await.unwrap();
        eventually(|| node.serves()).await;
        assert_eq!(node.cache.get::<u64>("k").await.unwrap(), Some(1));
    });
    drop((node, runtime));
}

#[test]
fn p2_a_node_whose_runtime_is_gone_serves_nothing_near() {
    let server = RedisServer::start();
    let (runtime, node) = on_a_runtime_of_its_own(&server.url());
    runtime.block_on(node.cache.set("k", &1_u64, LASTING)).unwrap();
    assert_eq!(near(&node.cache), Some(1));
    drop(runtime);
    assert!(!node.serves());
    assert_eq!(near(&node.cache), None);
}
