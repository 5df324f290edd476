//! The queue by hand: who stands in it, and what is said to them.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::{Duration, SystemTime};

use cache_testkit::RedisServer;

use super::QUEUE;

/// The token of this number of a process that does not exist.
pub(crate) fn stranger(number: usize) -> String {
    format!("{number:036}.0@a stranger")
}

/// The channel of the process with this token.
pub(crate) fn channel(token: &str) -> String {
    format!("lock/cache/{}", &token[..36])
}

/// Puts a token at the end of the queue, as one that lives for another minute.
pub(crate) fn enqueue(server: &RedisServer, token: &str) {
    let [queue, waiters] = QUEUE;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let gone = (now + Duration::from_secs(60)).as_micros();
    server.command(&["RPUSH", queue, token]);
    server.command(&["HSET", waiters, token, &format!("{gone} 30000")]);
    for key in QUEUE {
        server.command(&["PEXPIRE", key, "60000"]);
    }
}

/// Who stands in the queue, in order.
pub(crate) fn in_line(server: &RedisServer) -> Vec<String> {
    let line = server.command(&["LRANGE", QUEUE[0], "0", "-1"]);
    line.list().iter().map(cache_testkit::Reply::text).collect()
}

/// Listens to a channel on one server.
pub(crate) struct Ear(BufReader<TcpStream>);

impl Ear {
    pub(crate) fn on(server: &RedisServer, channel: &str) -> Self {
        Self::by(server, &format!("SUBSCRIBE {channel}"))
    }

    /// Listens to all channels.
    pub(crate) fn on_all(server: &RedisServer) -> Self {
        Self::by(server, "PSUBSCRIBE *")
    }

    fn by(server: &RedisServer, subscribe: &str) -> Self {
        let mut stream = TcpStream::connect(server.addr()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        write!(stream, "{subscribe}\r\n").unwrap();
        let mut ear = Self(BufReader::new(stream));
        assert_eq!(ear.lines(6), ":1");
        ear
    }

    /// The next message, or the first line of it.
    pub(crate) fn hears(&mut self) -> String {
        self.lines(7)
    }

    /// The next line of that message.
    pub(crate) fn goes_on(&mut self) -> String {
        self.lines(1)
    }

    /// The last of so many lines.
    fn lines(&mut self, count: usize) -> String {
        let mut line = String::new();
        for _ in 0..count {
            line.clear();
            self.0.read_line(&mut line).unwrap();
        }
        line.trim_end().to_owned()
    }
}
