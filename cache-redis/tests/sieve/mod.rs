//! A way to a server on which published messages get lost, and nothing else: as between cluster
//! nodes, or in a proxy that sheds load.
#![allow(dead_code, unreachable_pub, reason = "each test file takes what it needs")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// Whether a message comes through.
type Keeps = Box<dyn FnMut(&str) -> bool + Send>;

/// It serves for as long as the process runs.
pub struct Sieve {
    addr: SocketAddr,
    keeps: Arc<Mutex<Keeps>>,
}

impl Sieve {
    /// A way to the server at this address, on which all messages come through.
    pub fn start(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let all: Keeps = Box::new(|_| true);
        let keeps = Arc::new(Mutex::new(all));
        let (server, shared) = (server.replace("redis://", ""), Arc::clone(&keeps));
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (client, server) = (client.unwrap(), TcpStream::connect(&server).unwrap());
                client.set_nodelay(true).unwrap();
                server.set_nodelay(true).unwrap();
                let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(std::net::Shutdown::Both);
                });
                let keeps = Arc::clone(&shared);
                std::thread::spawn(move || sift(server, client, &keeps));
            }
        });
        Self { addr, keeps }
    }

    pub fn url(&self) -> String {
        format!("redis://{}", self.addr)
    }

    /// From now on those messages come through for which this is true.
    pub fn keep(&self, keeps: impl FnMut(&str) -> bool + Send + 'static) {
        *self.keeps.lock().unwrap() = Box::new(keeps);
    }
}

fn sift(mut server: TcpStream, mut client: TcpStream, keeps: &Mutex<Keeps>) {
    let (mut waiting, mut bytes) = (Vec::new(), [0; 65_536]);
    while let Ok(read @ 1..) = server.read(&mut bytes) {
        waiting.extend_from_slice(&bytes[..read]);
        while let Some(len) = frame(&waiting) {
            let frame: Vec<_> = waiting.drain(..len).collect();
            let kept = message(&frame).is_none_or(|message| keeps.lock().unwrap()(message));
            if kept && client.write_all(&frame).is_err() {
                return;
            }
        }
    }
    let _ = client.shutdown(std::net::Shutdown::Both);
}

/// How long the reply is that `bytes` begin with, once it is there.
fn frame(bytes: &[u8]) -> Option<usize> {
    let line = bytes.windows(2).position(|pair| pair == b"\r\n")? + 2;
    let count = || std::str::from_utf8(&bytes[1..line - 2]).unwrap().parse::<i64>().unwrap();
    let parts = match bytes[0] {
        b'$' | b'=' | b'!' => {
            let len = usize::try_from(count()).map_or(line, |len| line + len + 2);
            return (bytes.len() >= len).then_some(len);
        }
        b'*' | b'~' | b'>' => count(),
        b'%' => count() * 2,
        _ => 0,
    };
    (0..parts).try_fold(line, |len, _| frame(&bytes[len..]).map(|part| len + part))
}

/// What was published, if that is what the reply tells of.
fn message(frame: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(frame).ok()?;
    let pushed = text.strip_prefix(">3\r\n$7\r\nmessage\r\n")?;
    pushed.splitn(4, "\r\n").nth(3)?.strip_suffix("\r\n")
}
