//! Other processes: this test binary once more, which runs one function of it alone.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use cache_testkit::RedisServer;

const URL: &str = "LOCK_PROCESS_URL";

/// The other process's side: runs `body` with the server's URL. Does nothing in the test process.
pub(crate) fn process(body: impl AsyncFnOnce(String)) {
    let Ok(url) = std::env::var(URL) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(body(url));
}

/// Says something to the test.
pub(crate) fn say(what: &str) {
    let mut out = std::io::stdout();
    writeln!(out, "\n> {what}").and_then(|()| out.flush()).unwrap();
}

/// Waits for the test to say something.
pub(crate) fn listen() -> String {
    tokio::task::block_in_place(|| std::io::stdin().lines().next().unwrap().unwrap())
}

/// Another process, which runs the named function; killed when dropped.
pub(crate) struct Process {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Process {
    pub(crate) fn run(what: &str, server: &RedisServer) -> Self {
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
    pub(crate) fn says(&mut self) -> String {
        let said = self.lines.by_ref().map(Result::unwrap).find(|line| line.starts_with("> "));
        said.expect("it says something").split_off(2)
    }

    /// What it [listens](listen) for.
    pub(crate) fn tell(&mut self, what: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{what}").unwrap();
    }

    fn signal(&self, signal: &str) {
        let kill = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(kill.unwrap().success());
    }

    /// Halts it, and waits until all its threads stand still.
    pub(crate) fn halt(&self) {
        self.signal("-STOP");
        let threads = format!("/proc/{}/task", self.child.id());
        let stands = |thread: std::io::Result<std::fs::DirEntry>| {
            let status = std::fs::read_to_string(thread.unwrap().path().join("stat"));
            // `<id> (<name>) <state> ...`; no file: the thread has ended.
            status.map_or(true, |status| status.rsplit_once(") ").unwrap().1.starts_with('T'))
        };
        let deadline = Instant::now() + Duration::from_secs(10);
        while !std::fs::read_dir(&threads).unwrap().all(stands) {
            assert!(Instant::now() < deadline, "it goes on");
            std::thread::yield_now();
        }
    }

    /// Lets it go on.
    pub(crate) fn go_on(&self) {
        self.signal("-CONT");
    }

    /// Kills it and waits until it is gone, its connections with it.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
