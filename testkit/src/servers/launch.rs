//! Starting the binary and waiting until it answers.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::options::Kind;
use super::process::Process;
use super::server::RedisServer;

/// How long a server may take until it answers; it takes some 10 ms.
const DEADLINE: Duration = Duration::from_secs(10);

/// How many ports are tried before it is somebody's fault.
const ATTEMPTS: usize = 10;

/// How often it is asked meanwhile.
const PACE: Duration = Duration::from_millis(2);

/// Why there is no server.
#[derive(Debug)]
pub(super) enum Failure {
    /// Another port may do.
    AddressInUse,
    /// No other port would.
    Other(String),
}

/// Starts what `start` starts, anew as long as somebody else takes the ports that were free.
///
/// # Panics
///
/// If it does not start.
pub(super) fn on_free_ports<T>(start: impl Fn() -> Result<T, Failure>) -> T {
    for _ in 0..ATTEMPTS {
        match start() {
            Ok(started) => return started,
            Err(Failure::AddressInUse) => {}
            Err(Failure::Other(message)) => panic!("{message}"),
        }
    }
    panic!("somebody else took every one of {ATTEMPTS} free ports");
}

/// Waits until `condition` holds, asking every few milliseconds.
///
/// # Panics
///
/// If it does not hold after `patience`, saying `what` did not come about.
#[track_caller]
pub(super) fn wait_until(what: &str, patience: Duration, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < patience, "not after {patience:?}: {what}");
        std::thread::sleep(PACE);
    }
}

/// Starts the process of `server` and waits until it answers.
pub(super) fn launch(server: &RedisServer) -> Result<Process, Failure> {
    let binary = find_binary().map_err(Failure::Other)?;
    let config = server.dir().path().join("redis.conf");
    if !server.kind().keeps_config() || !config.exists() {
        server.dir().write("redis.conf", &server.config_text());
    }
    let log = server.dir().write("log", "");
    let mut arguments = vec![config.to_str().expect("the temporary directory's name is UTF-8")];
    if server.kind() == Kind::Sentinel {
        arguments.push("--sentinel");
    }
    let process = Process::spawn(&binary, &arguments, server.dir().path());

    let start = Instant::now();
    loop {
        if process.ends_within(PACE) {
            let log = fs::read_to_string(&log).unwrap_or_default();
            if log.contains("Address already in use") {
                return Err(Failure::AddressInUse);
            }
            return Err(Failure::Other(format!("redis-server ended at once; it said:\n{log}")));
        }
        if server.answers(process.pid()) {
            return Ok(process);
        }
        if start.elapsed() > DEADLINE {
            let log = fs::read_to_string(&log).unwrap_or_default();
            return Err(Failure::Other(format!(
                "redis-server does not answer after {DEADLINE:?}; it said:\n{log}"
            )));
        }
    }
}

/// The `redis-server` in `PATH`.
fn find_binary() -> Result<PathBuf, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|dir| dir.join("redis-server"))
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| {
            format!(
                "there is no redis-server in PATH ({}), and this test needs one. As root on \
                 Debian or Ubuntu: apt-get install redis-server",
                path.display()
            )
        })
}
