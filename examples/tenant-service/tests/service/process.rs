//! The program itself: how it starts, and how it ends.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use cache_services::{CacheConfig, CacheServices, LockOptions};
use cache_testkit::{RedisServer, eventually, eventually_async};
use hyper::{Method, StatusCode};
use rustix::process::{Pid, Signal, kill_process};
use tenant_service::client::{Client, ClientError};
use tenant_service::{TokenHash, seed};

use crate::fleet::Folder;

/// A running program; killed when dropped.
struct Program {
    child: Child,
    addr: SocketAddr,
    stderr: BufReader<ChildStderr>,
}

fn command(variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tenant-service"));
    command.env_clear().stderr(Stdio::piped()).stdout(Stdio::null());
    command.envs([("LISTEN_ADDR", "127.0.0.1:0"), ("ADMIN_ADDR", "127.0.0.1:0")]);
    command.envs(variables.iter().copied());
    command
}

impl Program {
    fn start(folder: &Folder, config: &str, variables: &[(&str, &str)]) -> Self {
        let config = folder.write("config.yaml", config);
        let mut child = command(variables).arg("--config").arg(config).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        let addr = loop {
            line.clear();
            assert_ne!(stderr.read_line(&mut line).unwrap(), 0, "it ended before it served");
            if let Some((_, rest)) = line.split_once("serving listen=") {
                break rest.split(' ').next().unwrap().parse().unwrap();
            }
        };
        Self { child, addr, stderr }
    }

    fn client(&self) -> Client {
        Client::new(self.addr, 8, Duration::from_secs(10))
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    async fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        eventually(|| {
            status = self.child.try_wait().unwrap();
            status.is_some()
        })
        .await;
        status.unwrap()
    }

    fn rest_of_log(&mut self) -> String {
        let mut log = String::new();
        self.stderr.read_to_string(&mut log).unwrap();
        log
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const SLOW: &str = "
database: { organisations: 3 }
upstream: { latency_secs: 1 }
";

/// A request that is with the identity provider for as long as the configuration says.
async fn slow_request(client: &Client) -> Result<StatusCode, ClientError> {
    let bearer = format!("Bearer {}", seed::token(0, 0));
    let headers = [("x-org-slug", "acme"), ("authorization", bearer.as_str())];
    let body = serde_json::json!({});
    let answer = client.json(Method::POST, "/session/refresh", &headers, &body).await?;
    Ok(answer.status)
}

/// The lock that it is held under.
fn lock() -> String {
    TokenHash::of(&seed::token(0, 0)).session_key()
}

/// The cache and locks of the program, from outside.
async fn services(redis: &RedisServer) -> CacheServices {
    let namespace = "tenants".to_owned();
    let config = CacheConfig { redis_url: Some(redis.url()), namespace, ..CacheConfig::default() };
    CacheServices::from_config(config).await.unwrap()
}

/// Waits until the slow request has the lock.
async fn under_way(services: &CacheServices) {
    let locks = services.concurrency();
    eventually_async(async || locks.inspect(&lock()).await.unwrap().is_some()).await;
}

/// Waits until the program takes no connections.
async fn closed(client: &Client) {
    let closed = async || matches!(client.get("/health", &[]).await, Err(ClientError::Connect(_)));
    eventually_async(closed).await;
}

#[tokio::test]
async fn sigterm_finishes_what_is_under_way_and_gives_the_locks_back() {
    let (folder, redis) = (Folder::new(), RedisServer::start());
    let mut program = Program::start(&folder, SLOW, &[("REDIS_URL", &redis.url())]);
    let (client, other) = (program.client(), program.client());
    let services = services(&redis).await;
    let (status, ()) = tokio::join!(slow_request(&client), async {
        under_way(&services).await;
        program.signal(Signal::TERM);
        closed(&other).await;
        let holder = services.concurrency().inspect(&lock()).await.unwrap();
        assert!(holder.is_some(), "the request is under way still");
    });
    assert_eq!(status.unwrap(), StatusCode::OK);
    let status = program.ended().await;
    let log = program.rest_of_log();
    assert!(status.success(), "{status}: {log}");
    assert!(log.contains("shut down ended=Finished"), "{log}");
    assert!(!log.contains(&seed::token(0, 0)), "no token in the log: {log}");
    let taken = services.concurrency().try_acquire(&lock(), &LockOptions::default()).await;
    assert!(taken.unwrap().is_some(), "the lock is free");
    services.shutdown().await;
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let (folder, redis) = (Folder::new(), RedisServer::start());
    let slow = SLOW.replace("latency_secs: 1", "latency_secs: 9");
    let mut program = Program::start(&folder, &slow, &[("REDIS_URL", &redis.url())]);
    let (client, other) = (program.client(), program.client());
    let start = Instant::now();
    let services = services(&redis).await;
    let (status, ()) = tokio::join!(slow_request(&client), async {
        under_way(&services).await;
        program.signal(Signal::TERM);
        closed(&other).await;
        program.signal(Signal::INT);
    });
    assert!(status.is_err(), "the request was cut off");
    assert_eq!(program.ended().await.code(), Some(1));
    assert!(start.elapsed() < Duration::from_secs(8), "long before the request would have ended");
    services.shutdown().await;
}

#[tokio::test]
async fn an_unreachable_redis_is_named_and_a_degraded_start_goes_without() {
    // A port that was free a moment ago and that nobody listens on.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("redis://:s3cret@127.0.0.1:{port}");
    let folder = Folder::new();
    let started = Instant::now();
    let output = command(&[("REDIS_URL", &url)]).output().unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{log}");
    assert!(log.contains(&format!("127.0.0.1:{port}")) && log.contains("REDIS_URL"), "{log}");
    assert!(!log.contains("s3cret"), "{log}");
    assert!(started.elapsed() < Duration::from_secs(10));

    let degraded = [("REDIS_URL", url.as_str()), ("CACHE_START_DEGRADED", "true")];
    let mut program = Program::start(&folder, SLOW, &degraded);
    let answer = program.client().get("/org", &[("x-org-slug", "acme")]).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK);
    program.signal(Signal::TERM);
    assert!(program.ended().await.success());
}

#[test]
fn a_wrong_configuration_is_refused_with_all_that_is_wrong() {
    let folder = Folder::new();
    let config = folder.write("config.yaml", "ttl: { tokens_secs: soon }\nlisten: 7\n");
    let output = command(&[("ADMIN_ADDR", "here")]).arg("--config").arg(config).output().unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{log}");
    for part in ["ttl.tokens_secs", "listen is not known", "ADMIN_ADDR"] {
        assert!(log.contains(part), "{part}: {log}");
    }
    let missing = command(&[]).args(["--config", "/nowhere.yaml"]).output().unwrap();
    assert_eq!(missing.status.code(), Some(2));
    let unknown = command(&[]).arg("--fast").output().unwrap();
    assert_eq!(unknown.status.code(), Some(2));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = command(&[("LISTEN_ADDR", &address)]).output().unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{log}");
    assert!(log.contains(&address), "{log}");
}
