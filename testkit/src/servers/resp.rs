//! A small blocking Redis client, so that what starts servers needs no other.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

/// What a server answered to [`RedisServer::command`](super::RedisServer::command).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Nothing is there.
    Nil,
    /// A status such as `OK`.
    Status(String),
    /// An error: its code and its message.
    Error(String),
    /// A number.
    Integer(i64),
    /// A string, of any bytes.
    Bytes(Vec<u8>),
    /// Several replies.
    List(Vec<Reply>),
}

impl Reply {
    /// A string, a status or a number as text; bytes that are not UTF-8 are replaced.
    ///
    /// # Panics
    ///
    /// On nothing, an error or a list.
    #[must_use]
    #[track_caller]
    pub fn text(&self) -> String {
        match self {
            Self::Status(text) => text.clone(),
            Self::Integer(number) => number.to_string(),
            Self::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            other => panic!("not a text: {other:?}"),
        }
    }

    /// A number, or a string that holds one.
    ///
    /// # Panics
    ///
    /// If it is not a number.
    #[must_use]
    #[track_caller]
    pub fn integer(&self) -> i64 {
        let text = self.text();
        text.parse().unwrap_or_else(|_| panic!("not a number: {text:?}"))
    }

    /// The bytes of a string, or `None` if nothing is there.
    ///
    /// # Panics
    ///
    /// On anything else.
    #[must_use]
    #[track_caller]
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Nil => None,
            Self::Bytes(bytes) => Some(bytes),
            other => panic!("not a string: {other:?}"),
        }
    }

    /// The members of a list.
    ///
    /// # Panics
    ///
    /// On anything else.
    #[must_use]
    #[track_caller]
    pub fn list(&self) -> &[Self] {
        match self {
            Self::List(members) => members,
            other => panic!("not a list: {other:?}"),
        }
    }
}

/// As a text, where it is one: `assert_eq!(reply, "OK")`.
impl PartialEq<&str> for Reply {
    fn eq(&self, other: &&str) -> bool {
        match self {
            Self::Status(text) => text == other,
            Self::Bytes(bytes) => bytes == other.as_bytes(),
            _ => false,
        }
    }
}

/// Where a server listens.
#[derive(Clone, Debug)]
pub(super) enum Endpoint {
    /// 127.0.0.1 and this port.
    Port(u16),
    /// A unix socket.
    Path(PathBuf),
}

trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

/// One connection.
pub(super) struct Connection(BufReader<Box<dyn Stream>>);

impl Connection {
    /// Connects; every later read and write may take `patience`.
    pub(super) fn open(endpoint: &Endpoint, patience: Duration) -> io::Result<Self> {
        let stream: Box<dyn Stream> = match endpoint {
            Endpoint::Port(port) => {
                let address = SocketAddr::from((Ipv4Addr::LOCALHOST, *port));
                let stream = TcpStream::connect_timeout(&address, patience)?;
                stream.set_read_timeout(Some(patience))?;
                stream.set_write_timeout(Some(patience))?;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
            Endpoint::Path(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(patience))?;
                stream.set_write_timeout(Some(patience))?;
                Box::new(stream)
            }
        };
        Ok(Self(BufReader::new(stream)))
    }

    /// Sends one command and reads its reply.
    pub(super) fn call<A: AsRef<[u8]>>(&mut self, command: &[A]) -> io::Result<Reply> {
        let mut bytes = format!("*{}\r\n", command.len()).into_bytes();
        for argument in command.iter().map(AsRef::as_ref) {
            bytes.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
            bytes.extend_from_slice(argument);
            bytes.extend_from_slice(b"\r\n");
        }
        self.0.get_mut().write_all(&bytes)?;
        self.reply()
    }

    fn reply(&mut self) -> io::Result<Reply> {
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        let line = line.trim_end_matches("\r\n");
        let mut characters = line.chars();
        let (kind, rest) = (characters.next(), characters.as_str());
        let number = || rest.parse::<i64>().map_err(|_| strange(line));
        Ok(match kind {
            None => return Err(io::ErrorKind::UnexpectedEof.into()),
            Some('+') => Reply::Status(rest.to_owned()),
            Some('-') => Reply::Error(rest.to_owned()),
            Some(':') => Reply::Integer(number()?),
            Some('$') => match usize::try_from(number()?) {
                Err(_) => Reply::Nil,
                Ok(length) => {
                    let mut bytes = vec![0; length + 2];
                    self.0.read_exact(&mut bytes)?;
                    bytes.truncate(length);
                    Reply::Bytes(bytes)
                }
            },
            Some('*') => match usize::try_from(number()?) {
                Err(_) => Reply::Nil,
                Ok(length) => {
                    Reply::List((0..length).map(|_| self.reply()).collect::<Result<_, _>>()?)
                }
            },
            Some(_) => return Err(strange(line)),
        })
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

fn strange(line: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not a Redis reply: {line:?}"))
}
