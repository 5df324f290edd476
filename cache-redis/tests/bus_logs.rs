//! What is said about a subscription, and what is not.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod nodes;

use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cache_core::BusEvent;
use cache_testkit::eventually;
use cache_testkit::servers::RedisServer;
use nodes::{Node, config};

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

    /// Lines about the subscription.
    fn count(&self, level: &str) -> usize {
        let ours = |line: &&str| line.contains(level) && line.contains("removals by other nodes");
        self.all().lines().filter(ours).count()
    }
}

/// One test: the subscriber is the process's.
#[tokio::test(flavor = "multi_thread")]
async fn one_line_per_change_and_not_one_per_attempt() {
    let lines = Lines::default();
    let writer = lines.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .init();
    let server = RedisServer::builder().password("hunter2secret").start();
    let mut node =
        Node::with(config(&server.url()).heartbeat_interval(Duration::from_millis(50))).await;
    eventually(|| lines.count(" INFO ") == 1).await;

    // Real time: a line is said at most once a second.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    server.stop();
    assert_eq!(node.hears().await, BusEvent::Disconnected);
    eventually(|| lines.count(" WARN ") == 1).await;
    // Real time, as above: until a line may be said again.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    server.restart();
    assert_eq!(node.hears().await, BusEvent::Connected);
    eventually(|| lines.count(" INFO ") == 2).await;

    // Lost and found again and again: one line, and what was left out in the next.
    let since = std::time::Instant::now();
    for _ in 0..8 {
        server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        assert_eq!(node.hears().await, BusEvent::Disconnected);
        assert_eq!(node.hears().await, BusEvent::Connected);
    }
    // Real time: until the line that says what was left out is due.
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    let most = usize::try_from(since.elapsed().as_secs()).unwrap() + 2;
    let (up, down) = (lines.count(" INFO "), lines.count(" WARN "));
    assert!(up - 2 + down - 1 <= most, "{}", lines.all());
    let last = lines.all().lines().rfind(|line| line.contains("removals by")).unwrap().to_owned();
    assert!(last.contains(" INFO "), "{last}");
    assert!(!lines.all().contains("hunter2secret"), "{}", lines.all());
}
