//! What is said about connections, and what is not.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is how a test fails")]
#![allow(clippy::print_stdout, reason = "figures, for whoever asks with --nocapture")]

use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cache_redis::{Call, ConnectionState, Connections, Lane, RedisConfig};
use cache_testkit::servers::RedisServer;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lines {
    fn all(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

/// One test: the subscriber is the process's.
#[tokio::test(flavor = "multi_thread")]
async fn one_line_per_change_and_never_the_password() {
    let lines = Lines::default();
    let writer = lines.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .init();
    let server = RedisServer::builder().password("hunter2secret").start();
    let url = format!("redis://default:hunter2secret@{}", server.addr());
    let config = RedisConfig::from_url(&url).unwrap();
    let connections = Connections::connect(&config).await.unwrap();
    let mut said = format!("{config:?} {connections:?} {:?}", connections.stats());
    let down = async |said: &mut String| {
        while connections.stats().state != ConnectionState::Down {
            let ping = redis::cmd("PING");
            if let Err(error) = connections.query::<String>(Call::new(Lane::Small), &ping).await {
                said.push_str(&format!("{error} {error:?}"));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let up = async || {
        while connections.stats().open != 4 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    server.kill();
    down(&mut said).await;
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    server.restart();
    up().await;
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    server.set_password("another3secret");
    server.disconnect_clients();
    down(&mut said).await;
    said.push_str(&format!("{connections:?}"));
    let again = Connections::connect(&config).await.expect_err("the password is another");
    said.push_str(&format!("{again} {again:?}"));
    connections.shutdown().await;

    let log = lines.all();
    let ours = |level: &str| {
        log.lines().filter(|line| line.contains(level) && line.contains("cache_redis")).count()
    };
    println!("{log}");
    assert_eq!((ours(" INFO "), ours(" WARN ")), (3, 2 + 1), "{log}");
    for text in [&log, &said] {
        assert!(!text.contains("hunter2secret") && !text.contains("another3secret"), "{text}");
    }
}
