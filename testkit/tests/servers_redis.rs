//! A throw-away server does what its builder and its methods say.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "all of it is tests, helpers included"
)]

use std::path::Path;
use std::time::{Duration, Instant};

use cache_testkit::RedisServer;
use cache_testkit::Reply;

/// Whether a process is there, zombies included.
fn exists(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

#[test]
fn it_starts_in_less_than_a_second_and_answers() {
    let start = Instant::now();
    let server = RedisServer::start();
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    assert_eq!(server.url(), format!("redis://127.0.0.1:{}", server.port()));
    assert_eq!(server.command(&["PING"]), "PONG");
    assert!(server.is_running());
    assert_eq!(server.info("server")["process_id"], server.pid().to_string());
}

#[test]
fn many_start_at_once_on_ports_of_their_own() {
    let servers: Vec<RedisServer> = std::thread::scope(|scope| {
        let starts: Vec<_> = (0..8).map(|_| scope.spawn(RedisServer::start)).collect();
        starts.into_iter().map(|start| start.join().unwrap()).collect()
    });
    for (number, server) in servers.iter().enumerate() {
        server.command(&["SET", "number", &number.to_string()]);
    }
    for (number, server) in servers.iter().enumerate() {
        assert_eq!(server.command(&["GET", "number"]), number.to_string().as_str());
    }
}

#[test]
fn nothing_is_left_after_a_drop() {
    let server = RedisServer::builder().unix_socket().start();
    let (pid, socket) = (server.pid(), server.socket_path().unwrap());
    assert!(exists(pid) && socket.exists());
    drop(server);
    assert!(!exists(pid));
    assert!(!socket.parent().unwrap().exists());
}

#[test]
fn nothing_is_left_after_a_drop_while_paused() {
    let server = RedisServer::start();
    let pid = server.pid();
    server.pause();
    let start = Instant::now();
    drop(server);
    assert!(!exists(pid));
    assert!(start.elapsed() < Duration::from_secs(1));
}

#[test]
fn nothing_is_left_after_a_panic() {
    let (tell, told) = std::sync::mpsc::channel();
    let test = std::thread::spawn(move || {
        let server = RedisServer::builder().unix_socket().start();
        tell.send((server.pid(), server.socket_path().unwrap())).unwrap();
        std::panic::resume_unwind(Box::new("the test has failed"));
    });
    assert!(test.join().is_err());
    let (pid, socket) = told.recv().unwrap();
    assert!(!exists(pid));
    assert!(!socket.parent().unwrap().exists());
}

#[test]
fn stopped_it_refuses_and_restarted_it_is_empty() {
    let server = RedisServer::start();
    let (url, pid) = (server.url(), server.pid());
    server.command(&["SET", "key", "value"]);
    server.stop();
    assert!(!server.is_running() && !exists(pid));
    let error = server.try_command(&["PING"]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    server.stop();

    server.restart();
    assert_eq!(server.url(), url);
    assert_ne!(server.pid(), pid);
    assert_eq!(server.command(&["GET", "key"]), Reply::Nil);
    server.restart();
    assert_eq!(server.command(&["PING"]), "PONG");
}

#[test]
fn a_persistent_one_keeps_its_data_when_stopped_and_when_killed() {
    let server = RedisServer::builder().persistent().start();
    server.command(&["SET", "key", "first"]);
    server.stop();
    server.restart();
    assert_eq!(server.command(&["GET", "key"]), "first");
    server.command(&["SET", "key", "second"]);
    let pid = server.pid();
    server.kill();
    assert!(!exists(pid) && !server.is_running());
    server.restart();
    assert_eq!(server.command(&["GET", "key"]), "second");
}

#[test]
fn paused_it_is_silent_and_resumed_it_answers() {
    let server = RedisServer::start();
    server.pause();
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| server.command(&["PING"]));
        // Time is what shall pass here: nothing may happen in it.
        std::thread::sleep(Duration::from_millis(200));
        assert!(!asked.is_finished());
        assert!(server.is_running());
        server.resume();
        assert_eq!(asked.join().unwrap(), "PONG");
    });
    server.pause();
    server.stop();
    assert!(!server.is_running());
}

#[test]
fn the_memory_is_bounded() {
    let server = RedisServer::builder().max_memory(2_500_000, "noeviction").start();
    let value = vec![b'x'; 500_000];
    let refused = (0..10).find_map(|n| {
        let key = format!("key{n}");
        match server.try_command(&[b"SET", key.as_bytes(), &value]).unwrap() {
            Reply::Error(error) => Some(error),
            _ => None,
        }
    });
    assert!(refused.unwrap().starts_with("OOM "));

    let server = RedisServer::builder().max_memory(5_000_000, "allkeys-lru").start();
    for n in 0..100 {
        server.command(&[b"SET", format!("key{n}").as_bytes(), &value[..100_000]]);
    }
    assert_ne!(server.info("stats")["evicted_keys"], "0");
}

#[test]
fn commands_are_counted() {
    let server = RedisServer::start();
    assert_eq!(server.commandstats().keys().collect::<Vec<_>>(), ["config|resetstat"]);
    server.command(&["GET", "a"]);
    server.command(&["GET", "b"]);
    server.command(&["MGET", "a", "b"]);
    let counts = server.commandstats();
    assert_eq!((counts["get"], counts["mget"]), (2, 1));
    server.reset_commandstats();
    assert!(!server.commandstats().contains_key("get"));
}

#[test]
fn replies_of_every_kind_are_read() {
    let server = RedisServer::start();
    assert_eq!(server.command(&["GET", "nothing"]).bytes(), None);
    server.command(&[b"SET".as_slice(), b"key", b"\r\n\0\xff"]);
    assert_eq!(server.command(&["GET", "key"]).bytes(), Some(b"\r\n\0\xff".as_slice()));
    assert_eq!(server.command(&["STRLEN", "key"]).integer(), 4);
    server.command(&["RPUSH", "list", "1", "", "3"]);
    let list = server.command(&["LRANGE", "list", "0", "-1"]);
    assert_eq!(list.list().iter().map(Reply::text).collect::<Vec<_>>(), ["1", "", "3"]);
    let error = server.try_command(&["INCR", "key"]).unwrap();
    assert!(matches!(error, Reply::Error(error) if error.contains("not an integer")));
    server.flush();
    assert_eq!(server.command(&["DBSIZE"]).integer(), 0);
}

#[test]
fn lines_of_configuration_come_last() {
    let server = RedisServer::builder().config("databases 3").config("appendonly yes").start();
    assert_eq!(server.command(&["CONFIG", "GET", "databases"]).list()[1], "3");
    assert_eq!(server.command(&["CONFIG", "GET", "appendonly"]).list()[1], "yes");
}

#[test]
#[should_panic(expected = "Bad directive")]
fn what_it_said_is_told_when_it_does_not_start() {
    let _ = RedisServer::builder().config("nonsense yes").start();
}

#[test]
#[should_panic(expected = "WRONGTYPE")]
fn a_refused_command_is_a_panic() {
    let server = RedisServer::start();
    server.command(&["SET", "key", "value"]);
    server.command(&["LPUSH", "key", "value"]);
}
