//! No server outlives the process that started it, however that ends.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "all of it is tests, helpers included"
)]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cache_testkit::RedisServer;

/// Set for the process that this test starts and kills.
const VICTIM: &str = "SERVERS_ORPHAN_VICTIM";

/// Not a test by itself: what the tests below run in another process.
#[test]
fn victim() {
    let Ok(manner) = std::env::var(VICTIM) else { return };
    let servers = [
        RedisServer::builder().unix_socket().start(),
        RedisServer::builder().unix_socket().persistent().start(),
    ];
    servers[1].pause();
    for server in &servers {
        println!("SERVER {} {}", server.pid(), server.socket_path().unwrap().display());
    }
    println!("READY");
    match manner.as_str() {
        "exit" => std::process::exit(0),
        "abort" => std::process::abort(),
        _ => std::thread::sleep(Duration::from_secs(60)),
    }
}

/// Runs [`victim`] until it has told its servers: their process ids and directories.
fn start(manner: &str) -> (Child, Vec<(u32, PathBuf)>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "victim", "--nocapture"])
        .env(VICTIM, manner)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut servers = Vec::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if let Some((_, told)) = line.split_once("SERVER ") {
            let (pid, socket) = told.split_once(' ').unwrap();
            let dir = Path::new(socket).parent().unwrap().to_owned();
            servers.push((pid.parse().unwrap(), dir));
        } else if line.contains("READY") {
            break;
        }
    }
    (child, servers)
}

/// Waits until neither the processes nor the directories are there. A process that nobody has
/// reaped yet does not count: it does nothing any more.
fn vanish(servers: &[(u32, PathBuf)]) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while servers.iter().any(|(pid, dir)| runs(*pid) || dir.exists()) {
        assert!(Instant::now() < deadline, "still there: {servers:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn runs(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn servers_vanish_when_the_test_process_is_killed() {
    let (mut child, servers) = start("sleep");
    assert_eq!(servers.len(), 2);
    assert!(servers.iter().all(|(pid, dir)| runs(*pid) && dir.exists()));
    child.kill().unwrap();
    vanish(&servers);
    child.wait().unwrap();
}

#[test]
fn servers_vanish_when_the_test_process_aborts() {
    let (mut child, servers) = start("abort");
    assert_eq!(servers.len(), 2);
    child.wait().unwrap();
    vanish(&servers);
}

#[test]
fn servers_that_nobody_drops_vanish_with_the_process() {
    let (mut child, servers) = start("exit");
    assert_eq!(servers.len(), 2);
    child.wait().unwrap();
    vanish(&servers);
}

#[test]
fn a_missing_binary_is_a_failure_that_says_how_to_install_it() {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "victim", "--nocapture"])
        .env(VICTIM, "exit")
        .env("PATH", "/nonexistent")
        .output()
        .unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("apt-get install redis-server"), "{said}");
}
