//! The proxy spoils the way to a real server as it is told, and no more.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "all of it is tests, helpers included"
)]

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use cache_testkit::{Direction, FaultProxy, RedisServer};

/// Long enough to be sure that nothing comes.
const SILENCE: Duration = Duration::from_millis(200);

/// A client of one connection.
struct Client(TcpStream);

impl Client {
    fn of(proxy: &FaultProxy) -> Self {
        let stream = TcpStream::connect(proxy.addr()).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        Self(stream)
    }

    fn send(&mut self, command: &str) {
        self.0.write_all(format!("{command}\r\n").as_bytes()).unwrap();
    }

    fn line(&mut self) -> std::io::Result<String> {
        let mut line = Vec::new();
        let mut byte = [0];
        while !line.ends_with(b"\r\n") {
            self.0.read_exact(&mut byte)?;
            line.push(byte[0]);
        }
        Ok(String::from_utf8(line).unwrap().trim_end().to_owned())
    }

    fn ask(&mut self, command: &str) -> String {
        self.send(command);
        self.line().unwrap()
    }

    /// Nothing comes: no byte, no end, no reset.
    fn hears_nothing(&mut self) {
        self.0.set_read_timeout(Some(SILENCE)).unwrap();
        let error = self.0.read(&mut [0]).expect_err("silence");
        assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
        self.0.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    }

    fn is_reset(&mut self) {
        let error = self.0.read(&mut [0]).expect_err("a reset");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
    }
}

fn pair() -> (RedisServer, FaultProxy) {
    let server = RedisServer::start();
    let proxy = FaultProxy::start(&server.url());
    (server, proxy)
}

fn eventually(mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while !condition() {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn everything_passes_and_is_counted() {
    let (server, proxy) = pair();
    let mut client = Client::of(&proxy);
    assert_eq!(client.ask("SET key value"), "+OK");
    assert_eq!(client.ask("STRLEN key"), ":5");
    client.send("PING\r\nPING\r\nPING");
    for _ in 0..3 {
        assert_eq!(client.line().unwrap(), "+PONG");
    }
    assert_eq!(server.command(&["GET", "key"]), "value");
    assert_eq!((proxy.connections(), proxy.open_connections()), (1, 1));
    assert_eq!(proxy.round_trips(), 3);
    assert_eq!(proxy.bytes_to_server(), 15 + 12 + 18);
    assert_eq!(proxy.bytes_to_client(), 5 + 4 + 21);
    drop(client);
    eventually(|| proxy.open_connections() == 0);
}

#[test]
fn large_values_pass_whole() {
    let (server, proxy) = pair();
    let value = vec![b'x'; 8 << 20];
    server.command(&[b"SET".as_slice(), b"large", &value]);
    for latency in [0, 20] {
        proxy.latency(Duration::from_millis(latency));
        let mut client = Client::of(&proxy);
        assert_eq!(client.ask("GET large"), format!("${}", value.len()));
        let mut got = vec![0; value.len()];
        client.0.read_exact(&mut got).unwrap();
        assert!(got == value);
    }
}

#[test]
fn latency_delays_each_way() {
    let (_server, proxy) = pair();
    let mut client = Client::of(&proxy);
    assert_eq!(client.ask("PING"), "+PONG");
    proxy.latency(Duration::from_millis(60));
    let start = Instant::now();
    assert_eq!(client.ask("PING"), "+PONG");
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(120) && took < Duration::from_secs(1), "{took:?}");

    proxy.latency(Duration::from_secs(60));
    client.send("PING");
    client.hears_nothing();
    proxy.heal();
    assert_eq!(client.line().unwrap(), "+PONG");
}

#[test]
fn bandwidth_is_bounded_over_all_connections() {
    let (server, proxy) = pair();
    server.command(&[b"SET".as_slice(), b"large", &vec![b'x'; 100_000]]);
    proxy.bandwidth(400_000);
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut client = Client::of(&proxy);
                assert_eq!(client.ask("GET large"), "$100000");
                client.0.read_exact(&mut vec![0; 100_002]).unwrap();
            });
        }
    });
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(490) && took < Duration::from_secs(2), "{took:?}");

    proxy.bandwidth(1);
    let mut client = Client::of(&proxy);
    client.send("PING");
    client.hears_nothing();
    proxy.heal();
    assert_eq!(client.line().unwrap(), "+PONG");
}

#[test]
fn cut_resets_old_and_new_connections_until_healed() {
    let (server, proxy) = pair();
    let mut client = Client::of(&proxy);
    assert_eq!(client.ask("PING"), "+PONG");
    proxy.cut();
    client.is_reset();
    Client::of(&proxy).is_reset();
    assert_eq!(server.command(&["PING"]), "PONG");
    proxy.heal();
    assert_eq!(Client::of(&proxy).ask("PING"), "+PONG");
}

#[test]
fn connections_are_reset_once() {
    let (_server, proxy) = pair();
    let mut client = Client::of(&proxy);
    assert_eq!(client.ask("PING"), "+PONG");
    proxy.reset_connections();
    client.is_reset();
    assert_eq!(Client::of(&proxy).ask("PING"), "+PONG");
}

#[test]
fn a_black_hole_swallows_old_and_new_connections() {
    let (server, proxy) = pair();
    let (mut used, mut idle) = (Client::of(&proxy), Client::of(&proxy));
    assert_eq!(used.ask("PING"), "+PONG");
    assert_eq!(idle.ask("PING"), "+PONG");
    proxy.black_hole(Direction::Both);
    used.send("SET key used");
    let mut new = Client::of(&proxy);
    new.send("SET key new");
    used.hears_nothing();
    new.hears_nothing();
    assert_eq!(server.command(&["EXISTS", "key"]).integer(), 0);

    proxy.heal();
    used.send("SET key later");
    used.hears_nothing();
    assert_eq!(server.command(&["EXISTS", "key"]).integer(), 0);
    assert_eq!(idle.ask("PING"), "+PONG");
    assert_eq!(Client::of(&proxy).ask("PING"), "+PONG");
    drop((used, new, idle));
    eventually(|| proxy.open_connections() == 0);
}

#[test]
fn a_black_hole_hides_that_the_server_dies() {
    let (server, proxy) = pair();
    let mut client = Client::of(&proxy);
    assert_eq!(client.ask("PING"), "+PONG");
    proxy.drop_replies();
    server.kill();
    client.hears_nothing();
    client.send("PING");
    client.hears_nothing();
    client.send("PING");
    client.hears_nothing();
    let mut new = Client::of(&proxy);
    new.send("PING");
    new.hears_nothing();
    drop((client, new));
    eventually(|| proxy.open_connections() == 0);
}

#[test]
fn requests_alone_are_swallowed() {
    let (server, proxy) = pair();
    let mut client = Client::of(&proxy);
    assert_eq!(client.ask("SUBSCRIBE news"), "*3");
    for _ in 0..5 {
        client.line().unwrap();
    }
    proxy.black_hole(Direction::ToServer);
    client.send("UNSUBSCRIBE news");
    client.hears_nothing();
    server.command(&["PUBLISH", "news", "hello"]);
    assert_eq!(client.line().unwrap(), "*3");
}

#[test]
fn replies_alone_are_dropped() {
    let (server, proxy) = pair();
    let mut client = Client::of(&proxy);
    proxy.drop_replies();
    client.send("SET key value");
    client.hears_nothing();
    assert_eq!(server.command(&["GET", "key"]), "value");
    client.send("INCR number");
    eventually(|| server.command(&["EXISTS", "number"]).integer() == 1);
    proxy.heal();
    client.send("PING");
    client.hears_nothing();
}

#[test]
fn a_reply_is_lost_after_the_server_has_done_its_work() {
    let (server, proxy) = pair();
    proxy.cut_after_forwarding(2);
    for n in 1..=2 {
        let mut client = Client::of(&proxy);
        client.send("INCR number");
        client.is_reset();
        assert_eq!(server.command(&["GET", "number"]).integer(), n);
    }
    assert_eq!(Client::of(&proxy).ask("INCR number"), ":3");
}

#[test]
fn a_server_that_is_not_there_is_a_reset() {
    let (server, proxy) = pair();
    server.stop();
    Client::of(&proxy).is_reset();
    server.restart();
    assert_eq!(Client::of(&proxy).ask("PING"), "+PONG");
}

#[test]
fn a_unix_socket_is_a_target() {
    let server = RedisServer::builder().unix_socket().user("app", "p@w").start();
    let proxy = FaultProxy::start(&server.url());
    assert_eq!(
        proxy.url(&format!("{}&db=3", server.url())),
        format!("redis://app:p%40w@127.0.0.1:{}/3", proxy.port())
    );
    assert_eq!(Client::of(&proxy).ask("AUTH app p@w"), "+OK");
    let proxy = FaultProxy::start(server.socket_path().unwrap().to_str().unwrap());
    assert_eq!(Client::of(&proxy).ask("AUTH app p@w"), "+OK");
}

#[test]
fn urls_are_led_through_it() {
    let proxy = FaultProxy::start("localhost:1");
    let port = proxy.port();
    assert_eq!(
        proxy.url("rediss://me:p%40@example.org:6380/2?x=y"),
        format!("rediss://me:p%40@127.0.0.1:{port}/2?x=y")
    );
    assert_eq!(proxy.url("redis+unix:///a/b"), format!("redis://127.0.0.1:{port}"));
}

#[test]
#[should_panic(expected = "neither host:port")]
fn a_target_without_a_port_is_refused() {
    let _ = FaultProxy::start("localhost");
}

#[test]
fn it_works_while_the_only_runtime_thread_is_blocked() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let (_server, proxy) = pair();
        assert_eq!(Client::of(&proxy).ask("PING"), "+PONG");
    });
}

#[test]
fn dropping_it_closes_everything() {
    let (_server, proxy) = pair();
    let mut client = Client::of(&proxy);
    assert_eq!(client.ask("PING"), "+PONG");
    let address = proxy.addr();
    drop(proxy);
    assert!(matches!(client.0.read(&mut [0]), Ok(0) | Err(_)));
    assert_eq!(TcpStream::connect(address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
}
