//! P3 across processes: one load in all, and another takes over when the one that loads is killed.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is how a test fails")]

mod nodes;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use cache_core::{CacheServiceExt, Policy};
use cache_testkit::{Loads, RedisServer, eventually};
use nodes::{LASTING, Node, name};

const URL: &str = "HYBRID_PROCESS_URL";
const LEASE: Duration = Duration::from_millis(800);
/// What a busy machine adds.
const SLACK: Duration = Duration::from_millis(400);
const KEYS: usize = 100;

fn say(what: &str) {
    let mut out = std::io::stdout();
    writeln!(out, "\n> {what}").and_then(|()| out.flush()).unwrap();
}

fn policy() -> Policy {
    Policy::ttl(LASTING).load_timeout(LEASE)
}

/// What the function of another process does, on a node of its own; nothing unless it is one.
fn as_process(run: impl AsyncFnOnce(Node)) {
    let Ok(url) = std::env::var(URL) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async { run(Node::start(&url).await).await });
}

/// Not a test: a process that begins a load and never ends it.
#[test]
#[ignore = "run by the tests of this file, in a process of its own"]
fn stuck() {
    as_process(async |node| {
        let load = || async {
            say("loading");
            std::future::pending::<Result<u64, Infallible>>().await
        };
        let _ = node.cache.get_or_load("k", policy(), load).await;
        say("given up");
    });
}

/// Not a test: a process that wants all keys at once.
#[test]
#[ignore = "run by the tests of this file, in a process of its own"]
fn racer() {
    as_process(async |node| {
        say("ready");
        std::io::stdin().read_line(&mut String::new()).unwrap();
        let wanted = (0..KEYS).map(|key| {
            let (cache, own) = (node.cache.clone(), std::process::id());
            tokio::spawn(async move {
                let key = format!("k{key}");
                let name = key.clone();
                let load = move || async move {
                    say(&format!("loads {name}"));
                    // As long as a load takes: what another process asks meanwhile, waits.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    Ok::<_, Infallible>(own)
                };
                let value = cache.get_or_load(&key, policy(), load).await.unwrap();
                say(&format!("got {key} {value}"));
            })
        });
        for wanting in wanted.collect::<Vec<_>>() {
            wanting.await.unwrap();
        }
        say("done");
    });
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
            .stdin(Stdio::piped())
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

    /// `SIGKILL`: it ends where it is.
    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_08_three_processes_and_one_load() {
    let server = RedisServer::start();
    let mut racers: Vec<_> = (0..3).map(|_| Process::start("racer", &server)).collect();
    for racer in &mut racers {
        assert_eq!(racer.says(), "ready");
    }
    for racer in &mut racers {
        racer.child.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
    }
    let (mut loads, mut values) = (BTreeMap::new(), BTreeMap::new());
    for racer in &mut racers {
        loop {
            let said = racer.says();
            match said.split(' ').collect::<Vec<_>>()[..] {
                ["loads", key] => *loads.entry(key.to_owned()).or_insert(0) += 1,
                ["got", key, value] => {
                    let all = values.entry(key.to_owned()).or_insert_with(Vec::new);
                    all.push(value.to_owned());
                }
                _ => break assert_eq!(said, "done"),
            }
        }
    }
    assert_eq!(loads.len(), KEYS);
    assert!(loads.values().all(|count| *count == 1), "loaded more than once: {loads:?}");
    for (key, got) in values {
        assert_eq!(got.len(), 3);
        assert!(got.iter().all(|value| *value == got[0]), "{key}: {got:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_09_the_loading_process_is_killed() {
    let server = RedisServer::start();
    let node = Node::start(&server.url()).await;
    let mut first = Process::start("stuck", &server);
    assert_eq!(first.says(), "loading");
    let begun = Instant::now();
    // Two callers here, so that it is one load here as well.
    let loads = Loads::new();
    let wait = |value: u64| {
        let (cache, load) = (node.cache.clone(), loads.returning(value));
        tokio::spawn(async move {
            let value = cache.get_or_load("k", policy(), load).await.unwrap();
            (*value, Instant::now())
        })
    };
    let waiting = [wait(1), wait(2)];
    // It has asked for the lease, which another holds.
    eventually(|| server.commandstats().get("evalsha").is_some_and(|asked| *asked > 0)).await;
    first.kill();
    let left = server.command(&["PTTL", &name("k")]).integer();
    let over = Instant::now() + Duration::from_millis(u64::try_from(left).unwrap());
    assert!(!waiting[0].is_finished() && loads.count() == 0, "the lease was not respected");
    let mut values = Vec::new();
    for waiting in waiting {
        let (value, when) = waiting.await.unwrap();
        assert!(when <= over + SLACK, "{:?} after the lease was over", when - over);
        assert!(when >= begun + LEASE / 2, "before the lease was over");
        values.push(value);
    }
    assert_eq!((loads.count(), values[0]), (1, values[1]));
    assert_eq!(node.get("k").await, Some(values[0]));
    assert_eq!(node.holds("k"), Some(values[0]));
}

/// A process that is killed while nobody waits leaves a key that can be loaded.
#[tokio::test(flavor = "multi_thread")]
async fn p3_09_and_the_next_caller_comes_later() {
    let server = RedisServer::start();
    let node = Node::start(&server.url()).await;
    let mut first = Process::start("stuck", &server);
    assert_eq!(first.says(), "loading");
    first.kill();
    eventually(|| server.command(&["EXISTS", &name("k")]).integer() == 0).await;
    assert_eq!(*node.try_load("k", policy(), 1).await.unwrap(), 1);
    assert_eq!((node.get("k").await, node.holds("k")), (Some(1), Some(1)));
}
