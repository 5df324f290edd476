//! The program itself: how it starts, and how it ends.

use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use cache_services::{CacheConfig, CacheServices, LockOptions};
use cache_testkit::{RedisServer, eventually, eventually_async};
use hyper::{Method, StatusCode};
use rustix::process::{Pid, Signal, kill_process};
use tenant_service::client::{Client, ClientError};
use tenant_service::{TokenHash, seed};
use tokio::net::TcpSocket;
use uuid::Uuid;

use crate::fleet::Folder;

/// A running program; killed when dropped.
struct Program {
    child: Child,
    addr: SocketAddr,
    log: PathBuf,
}

fn command(variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tenant-service"));
    command.env_clear().stdout(Stdio::null()).stderr(Stdio::null());
    command.envs([("LISTEN_ADDR", "127.0.0.1:0"), ("ADMIN_ADDR", "127.0.0.1:0")]);
    command.envs(variables.iter().copied());
    command
}

impl Program {
    async fn start(folder: &Folder, config: &str, variables: &[(&str, &str)]) -> Self {
        let config = folder.write("config.yaml", config);
        let mut command = command(variables);
        command.arg("--config").arg(config);
        Self::run(folder, command).await
    }

    async fn run(folder: &Folder, command: Command) -> Self {
        let mut program = Self::spawn(folder, command);
        let mut addr = None;
        eventually(|| {
            let log = program.log();
            addr = log.split_once("serving listen=").and_then(|(_, rest)| {
                let (addr, _) = rest.split_once(' ')?;
                addr.parse().ok()
            });
            addr.is_some() || program.child.try_wait().unwrap().is_some()
        })
        .await;
        program.addr = addr.unwrap_or_else(|| panic!("it does not serve: {}", program.log()));
        program
    }

    /// Without waiting until it serves.
    fn spawn(folder: &Folder, mut command: Command) -> Self {
        let log = folder.write(&format!("log-{}", Uuid::new_v4()), "");
        let child = command.stderr(File::create(&log).unwrap()).spawn().unwrap();
        Self { child, addr: SocketAddr::from(([0; 4], 0)), log }
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

    /// What it has said so far.
    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
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
upstream: { latency_secs: 4 }
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
    let mut program = Program::start(&folder, SLOW, &[("REDIS_URL", &redis.url())]).await;
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
    let log = program.log();
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
    // Longer than anything else here takes.
    let slow =
        &format!("{}\nlimits: {{ request_secs: 20 }}", SLOW.replace("_secs: 4", "_secs: 20"));
    let mut program = Program::start(&folder, slow, &[("REDIS_URL", &redis.url())]).await;
    let (client, other) = (program.client(), program.client());
    let services = services(&redis).await;
    let (status, ()) = tokio::join!(slow_request(&client), async {
        under_way(&services).await;
        program.signal(Signal::TERM);
        closed(&other).await;
        program.signal(Signal::INT);
    });
    assert!(status.is_err(), "the request was cut off, and not answered");
    assert_eq!(program.ended().await.code(), Some(1));
    services.shutdown().await;
}

#[tokio::test]
async fn an_unreachable_redis_is_named_and_a_degraded_start_goes_without() {
    // A port that is taken and that nobody listens on.
    let taken = TcpSocket::new_v4().unwrap();
    taken.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = taken.local_addr().unwrap().port();
    let url = format!("redis://:s3cret@127.0.0.1:{port}");
    let folder = Folder::new();
    let output = command(&[("REDIS_URL", &url)]).stderr(Stdio::piped()).output().unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{log}");
    assert!(log.contains(&format!("127.0.0.1:{port}")) && log.contains("REDIS_URL"), "{log}");
    assert!(!log.contains("s3cret"), "{log}");

    let degraded = [("REDIS_URL", url.as_str()), ("CACHE_START_DEGRADED", "true")];
    let mut program = Program::start(&folder, SLOW, &degraded).await;
    let answer = program.client().get("/org", &[("x-org-slug", "acme")]).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK);
    program.signal(Signal::TERM);
    assert!(program.ended().await.success());
}

#[test]
fn a_wrong_configuration_is_refused_with_all_that_is_wrong() {
    let folder = Folder::new();
    let config = folder.write("config.yaml", "ttl: { tokens_secs: soon }\nlisten: 7\n");
    let output = command(&[("ADMIN_ADDR", "here")])
        .arg("--config")
        .arg(config)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
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
    let output = command(&[("LISTEN_ADDR", &address)]).stderr(Stdio::piped()).output().unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{log}");
    assert!(log.contains(&address), "{log}");
}

#[tokio::test]
async fn sighup_reads_the_file_again_and_without_one_the_service_goes_on() {
    let folder = Folder::new();
    let with_file = Program::start(&folder, SLOW, &[]).await;
    let reloaded = "the new configuration is in force";
    with_file.signal(Signal::HUP);
    // It is the signal that has done it: the file says what it said.
    eventually(|| with_file.log().contains(reloaded)).await;
    folder.write("config.yaml", &format!("{SLOW}\nresolver: sometimes"));
    with_file.signal(Signal::HUP);
    eventually(|| with_file.log().contains("resolver is \\\"sometimes\\\"")).await;

    let without = Program::run(&folder, command(&[])).await;
    without.signal(Signal::HUP);
    eventually(|| without.log().contains("no configuration file to read again")).await;
    for mut program in [with_file, without] {
        let answer = program.client().get("/health", &[]).await.unwrap();
        assert_eq!(answer.status, StatusCode::OK);
        program.signal(Signal::TERM);
        assert!(program.ended().await.success(), "{}", program.log());
    }
}

#[tokio::test]
async fn sighup_during_the_start_does_not_end_it() {
    // A Redis that takes connections and never says anything holds the start up.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", silent.local_addr().unwrap());
    let folder = Folder::new();
    let mut program = Program::spawn(&folder, command(&[("REDIS_URL", &url)]));
    let _connection = tokio::task::spawn_blocking(move || silent.accept()).await.unwrap().unwrap();
    program.signal(Signal::HUP);
    let status = program.ended().await;
    assert_eq!(status.code(), Some(1), "{status}: {}", program.log());
    assert!(program.log().contains("the cache cannot be set up"), "{}", program.log());
}

#[tokio::test]
async fn a_shared_cache_over_a_database_of_ones_own_is_warned_of() {
    let (folder, redis) = (Folder::new(), RedisServer::start());
    let warning = "instances that share a cache need a database that they share";
    let url = redis.url();
    let path = folder.file().display().to_string();
    for (path, warned) in [(None, true), (Some(("DATABASE_PATH", &*path)), false)] {
        let variables: Vec<_> = [("REDIS_URL", &*url)].into_iter().chain(path).collect();
        let program = Program::start(&folder, SLOW, &variables).await;
        assert_eq!(program.log().contains(warning), warned, "{}", program.log());
    }
}
