//! Passwords, users, TLS and unix sockets, seen by clients that know nothing of the testkit.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "all of it is tests, helpers included"
)]

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use cache_testkit::RedisServer;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// Sends an inline command and returns the first line of the answer.
fn ask(stream: &mut (impl Read + Write), command: &str) -> String {
    stream.write_all(format!("{command}\r\n").as_bytes()).unwrap();
    let mut line = Vec::new();
    let mut byte = [0];
    while !line.ends_with(b"\r\n") {
        stream.read_exact(&mut byte).unwrap();
        line.push(byte[0]);
    }
    String::from_utf8(line).unwrap().trim_end().to_owned()
}

fn connect(server: &RedisServer) -> TcpStream {
    let stream = TcpStream::connect(server.addr()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    stream
}

/// A connection with TLS that trusts `ca` and expects `name`.
fn connect_tls(
    server: &RedisServer,
    ca: &str,
    name: &'static str,
) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(name).unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    StreamOwned::new(connection, connect(server))
}

#[test]
fn a_password_is_asked_for() {
    let server = RedisServer::builder().password("s3 \"cr\\et@é").start();
    assert_eq!(
        server.url(),
        format!("redis://:s3%20%22cr%5Cet%40%C3%A9@127.0.0.1:{}", server.port())
    );
    let mut client = connect(&server);
    assert!(ask(&mut client, "GET key").starts_with("-NOAUTH"));
    assert!(ask(&mut client, "AUTH wrong").starts_with("-WRONGPASS"));
    assert_eq!(ask(&mut client, "AUTH \"s3 \\\"cr\\\\et@é\""), "+OK");
    assert_eq!(ask(&mut client, "GET key"), "$-1");
    assert_eq!(server.command(&["GET", "key"]), cache_testkit::Reply::Nil);
}

#[test]
fn a_password_is_changed_under_the_clients_and_back() {
    let server = RedisServer::builder().password("old").start();
    let mut client = connect(&server);
    assert_eq!(ask(&mut client, "AUTH old"), "+OK");

    server.set_password("new");
    assert_eq!(server.url(), format!("redis://:new@127.0.0.1:{}", server.port()));
    assert_eq!(ask(&mut client, "PING"), "+PONG");
    assert_eq!(server.disconnect_clients(), 1);
    assert!(matches!(client.read(&mut [0]), Ok(0)));

    let mut client = connect(&server);
    assert!(ask(&mut client, "AUTH old").starts_with("-WRONGPASS"));
    assert_eq!(ask(&mut client, "AUTH new"), "+OK");

    server.restart();
    let mut client = connect(&server);
    assert!(ask(&mut client, "AUTH old").starts_with("-WRONGPASS"));
    assert_eq!(ask(&mut client, "AUTH new"), "+OK");

    server.set_password("old");
    assert_eq!(ask(&mut connect(&server), "AUTH old"), "+OK");
    server.set_password("");
    assert_eq!(ask(&mut connect(&server), "PING"), "+PONG");
    server.command(&["CONFIG", "SET", "requirepass", "typed by hand"]);
    assert_eq!(server.command(&["PING"]), "PONG");
}

#[test]
fn only_the_user_gets_in() {
    let server = RedisServer::builder().user("app", "one two").start();
    assert_eq!(server.url(), format!("redis://app:one%20two@127.0.0.1:{}", server.port()));
    let mut client = connect(&server);
    assert!(ask(&mut client, "PING").starts_with("-NOAUTH"));
    assert!(ask(&mut client, "AUTH \"one two\"").starts_with("-WRONGPASS"));
    assert_eq!(ask(&mut client, "AUTH app \"one two\""), "+OK");
    assert_eq!(ask(&mut client, "SET key value"), "+OK");

    server.set_password("three");
    let mut client = connect(&server);
    assert!(ask(&mut client, "AUTH app \"one two\"").starts_with("-WRONGPASS"));
    assert_eq!(ask(&mut client, "AUTH app three"), "+OK");
    assert_eq!(server.command(&["GET", "key"]), "value");
}

#[test]
fn secrets_are_not_shown() {
    let server = RedisServer::builder().user("app", "topsecret").start();
    assert!(!format!("{server:?}").contains("topsecret"));
    let builder = RedisServer::builder().password("topsecret");
    assert!(!format!("{builder:?}").contains("topsecret"));
}

#[test]
fn tls_holds_before_a_client_that_verifies() {
    let server = RedisServer::builder().tls().password("x").start();
    assert_eq!(server.url(), format!("rediss://:x@127.0.0.1:{}", server.port()));
    for name in ["127.0.0.1", "localhost"] {
        let mut client = connect_tls(&server, server.ca_pem(), name);
        assert_eq!(ask(&mut client, "AUTH x"), "+OK");
        assert_eq!(ask(&mut client, "PING"), "+PONG");
    }
    assert_eq!(server.command(&["PING"]), "PONG");
    let ca = server.ca_pem().to_owned();
    server.restart();
    assert_eq!(ask(&mut connect_tls(&server, &ca, "localhost"), "AUTH x"), "+OK");
}

#[test]
fn a_stranger_does_not_trust_the_certificate() {
    let (server, other) =
        (RedisServer::builder().tls().start(), RedisServer::builder().tls().start());
    for (ca, name) in [(other.ca_pem(), "localhost"), (server.ca_pem(), "example.org")] {
        let mut client = connect_tls(&server, ca, name);
        let error = client.write_all(b"PING\r\n").and_then(|()| client.read(&mut [0])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
    }
}

#[test]
fn a_unix_socket_is_served() {
    let server = RedisServer::builder().unix_socket().user("app", "a&b").start();
    let path = server.socket_path().unwrap();
    assert_eq!(server.url(), format!("redis+unix://{}?user=app&pass=a%26b", path.display()));
    let mut client = UnixStream::connect(&path).unwrap();
    assert_eq!(ask(&mut client, "AUTH app a&b"), "+OK");
    assert_eq!(ask(&mut client, "SET key value"), "+OK");
    assert_eq!(server.command(&["GET", "key"]), "value");
    server.restart();
    assert_eq!(ask(&mut UnixStream::connect(&path).unwrap(), "AUTH app a&b"), "+OK");
}
