//! Servers for these tests, to be replaced by the test kit's.
#![allow(dead_code, unreachable_pub, reason = "each test file takes what it needs")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

pub struct Server {
    child: Option<Child>,
    pub port: u16,
    dir: PathBuf,
    args: Vec<String>,
    auth: Vec<String>,
}

pub fn free_port() -> u16 {
    static SALT: AtomicU32 = AtomicU32::new(0);
    loop {
        // Below the ephemeral range, so that no outgoing connection takes it.
        let salt = SALT.fetch_add(1, Ordering::Relaxed);
        let port = 10_000 + ((std::process::id() * 131 + salt * 7) % 10_000) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok()
            && TcpListener::bind(("127.0.0.1", port + 10_000)).is_ok()
        {
            return port;
        }
    }
}

impl Server {
    pub fn start() -> Self {
        Self::with(&[])
    }

    pub fn with(args: &[&str]) -> Self {
        Self::on(free_port(), args)
    }

    pub fn on(port: u16, args: &[&str]) -> Self {
        let dir = std::env::temp_dir().join(format!("cache-redis-{}-{port}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let mut server = Self {
            child: None,
            port,
            dir,
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            auth: Vec::new(),
        };
        server.restart();
        server
    }

    pub fn login(&mut self, auth: &[&str]) {
        self.auth = auth.iter().map(|arg| (*arg).to_owned()).collect();
    }

    pub fn restart(&mut self) {
        self.stop();
        let own: Vec<String> =
            ["--port", &self.port.to_string(), "--save", "", "--bind", "127.0.0.1", "--dir"]
                .iter()
                .map(ToString::to_string)
                .chain([self.dir.display().to_string()])
                .collect();
        // Later arguments win: `--port 0` of a TLS test.
        let sentinel = self.args.first().is_some_and(|arg| arg.ends_with(".conf"));
        let mut command = Command::new("redis-server");
        if sentinel {
            command.args(&self.args);
        } else {
            command.args(own).args(&self.args);
        }
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        self.child = Some(child);
        let deadline = Instant::now() + Duration::from_secs(5);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < deadline, "redis-server does not start");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    pub fn pause(&self) {
        self.signal("-STOP");
    }

    pub fn resume(&self) {
        self.signal("-CONT");
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn dir(&self) -> &PathBuf {
        &self.dir
    }

    /// Asks over plain TCP.
    pub fn command(&self, args: &[&str]) -> String {
        self.try_command(args).unwrap()
    }

    /// The same of a server that may hang up: one that is promoted does.
    pub fn try_command(&self, args: &[&str]) -> io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        if !self.auth.is_empty() {
            let auth: Vec<&str> =
                std::iter::once("AUTH").chain(self.auth.iter().map(String::as_str)).collect();
            ask(&mut stream, &auth)?;
        }
        ask(&mut stream, args)
    }

    /// The clients that are ours, by the name they give themselves.
    pub fn clients(&self) -> usize {
        self.command(&["CLIENT", "LIST"])
            .lines()
            .filter(|line| line.contains("name=cache-redis"))
            .count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &self.child {
            let _ = Command::new("kill").args(["-CONT", &child.id().to_string()]).status();
        }
        self.stop();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn ask(stream: &mut TcpStream, args: &[&str]) -> io::Result<String> {
    let mut request = format!("*{}\r\n", args.len());
    for arg in args {
        request.push_str(&format!("${}\r\n{arg}\r\n", arg.len()));
    }
    stream.write_all(request.as_bytes())?;
    let mut reply = Vec::new();
    let mut chunk = [0; 65_536];
    loop {
        let read = stream.read(&mut chunk)?;
        if read == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server hung up"));
        }
        reply.extend_from_slice(&chunk[..read]);
        if complete(&reply) {
            return Ok(String::from_utf8_lossy(&reply).into_owned());
        }
    }
}

fn complete(reply: &[u8]) -> bool {
    let text = String::from_utf8_lossy(reply);
    match text.split_once("\r\n") {
        Some((head, _)) if head.starts_with('$') => {
            let length: i64 = head[1..].parse().unwrap();
            length < 0 || reply.len() >= head.len() + 4 + length as usize
        }
        // Enough for what these tests ask.
        Some(_) => text.ends_with("\r\n"),
        None => false,
    }
}

/// A proxy that can swallow everything.
pub struct Proxy {
    pub port: u16,
    hole: Arc<AtomicBool>,
    cut: Arc<AtomicBool>,
    closed: Arc<AtomicBool>,
}

impl Proxy {
    pub fn to(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let flag = || Arc::new(AtomicBool::new(false));
        let (hole, cut, closed) = (flag(), flag(), flag());
        let flags = (hole.clone(), closed.clone(), cut.clone());
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if flags.1.load(Ordering::Relaxed) {
                    return;
                }
                let client = client.unwrap();
                let server = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).unwrap();
                let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let hole = flags.0.clone();
                std::thread::spawn(move || pump(from, to, &hole, None));
                let (hole, cut) = (flags.0.clone(), flags.2.clone());
                std::thread::spawn(move || pump(server, client, &hole, Some(&cut)));
            }
        });
        Self { port: address.port(), hole, cut, closed }
    }

    /// The next reply that is a number is not passed on, and its connection is cut.
    pub fn cut_next_reply(&self) {
        self.cut.store(true, Ordering::Relaxed);
    }

    pub fn black_hole(&self, on: bool) {
        self.hole.store(on, Ordering::Relaxed);
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream, hole: &AtomicBool, cut: Option<&AtomicBool>) {
    let mut buffer = [0; 65_536];
    loop {
        match from.read(&mut buffer) {
            Ok(0) | Err(_) => {
                let _ = to.shutdown(std::net::Shutdown::Both);
                return;
            }
            Ok(_)
                if buffer[0] == b':'
                    && cut.is_some_and(|cut| cut.swap(false, Ordering::Relaxed)) =>
            {
                let _ = from.shutdown(std::net::Shutdown::Both);
                let _ = to.shutdown(std::net::Shutdown::Both);
                return;
            }
            // What came while the hole was open is lost, as is what follows on this connection.
            Ok(_) if hole.load(Ordering::Relaxed) => {
                let _ = io::copy(&mut from, &mut io::sink());
                let _ = to.shutdown(std::net::Shutdown::Both);
                return;
            }
            Ok(n) => {
                if to.write_all(&buffer[..n]).is_err() {
                    return;
                }
            }
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}
