//! What to connect to and within which limits.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use cache_core::{CacheError, Clock, ErrorKind};

use crate::url;
use crate::wire::HEADER_LEN;

const MAX_VALUE_BYTES: usize = (512 << 20) - HEADER_LEN;

/// Where Redis is, who we are there, and how long things may take.
///
/// `Debug` and every error leave passwords out.
///
/// ```
/// use cache_redis::RedisConfig;
/// use std::time::Duration;
///
/// let config = RedisConfig::from_url("redis://app:secret@10.0.0.5:6379/2")?
///     .namespace("shop")
///     .operation_timeout(Duration::from_millis(100));
/// assert!(!format!("{config:?}").contains("secret"));
/// # Ok::<(), cache_core::CacheError>(())
/// ```
#[derive(Clone, Debug)]
pub struct RedisConfig {
    pub(crate) topology: Topology,
    pub(crate) tls: bool,
    pub(crate) credentials: Credentials,
    pub(crate) db: u32,
    pub(crate) ca_certificate: Option<Pem>,
    pub(crate) namespace: String,
    pub(crate) channel: Option<String>,
    pub(crate) operation_timeout: Duration,
    pub(crate) connections: usize,
    pub(crate) heartbeat_interval: Duration,
    pub(crate) heartbeat_timeout: Duration,
    pub(crate) max_value_bytes: usize,
    pub(crate) default_ttl: Duration,
    pub(crate) clock: Clock,
}

impl RedisConfig {
    /// Reads a URL, with defaults for all else.
    ///
    /// - `redis://[user:password@]host[:port][/db]`, and `rediss://` for TLS
    /// - `redis+unix:///path/to.sock[?db=0&user=u&pass=p]`
    /// - `redis-cluster://host:port[?node=host2:port2&node=…]`
    /// - `redis-sentinel://host:port[/db]?sentinelServiceName=name[&node=host2:port2&…]`, with
    ///   `sentinelUsername` and `sentinelPassword` where the sentinels ask for them
    /// - `rediss-cluster://`, `rediss-sentinel://`
    ///
    /// User names and passwords are percent-encoded. Ports default to 6379, a sentinel's to 26379.
    ///
    /// # Errors
    ///
    /// [`Config`](ErrorKind::Config), saying what is wrong and what would be right without
    /// repeating the URL.
    pub fn from_url(url: &str) -> Result<Self, CacheError> {
        let url::Target { topology, tls, credentials, db } = url::parse(url)?;
        Ok(Self {
            topology,
            tls,
            credentials,
            db,
            ca_certificate: None,
            namespace: "cache".to_owned(),
            channel: None,
            operation_timeout: Duration::from_millis(250),
            connections: 2,
            heartbeat_interval: Duration::from_secs(1),
            heartbeat_timeout: Duration::from_millis(500),
            max_value_bytes: 20 << 20,
            default_ttl: Duration::from_secs(300),
            clock: Clock::system(),
        })
    }

    /// What every key begins with, before its colon.
    #[must_use]
    pub fn namespace_name(&self) -> &str {
        &self.namespace
    }

    /// How long entries live whose policy sets no TTL: 300 s by default, at least 1 ms.
    #[must_use]
    pub fn default_ttl(mut self, ttl: Duration) -> Self {
        self.default_ttl = ttl;
        self
    }

    /// What every key begins with, `cache` by default; a colon follows it. 1 to 128 bytes. One that
    /// begins with another and a colon, `app:eu` beside `app`, lies within it: clearing the outer
    /// clears both.
    #[must_use]
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// The channel on which nodes tell each other of removals: `<namespace>:invalidate` by default,
    /// so `cache:invalidate` in the default namespace. 1 to 256 bytes.
    #[must_use]
    pub fn invalidation_channel(mut self, channel: impl Into<String>) -> Self {
        self.channel = Some(channel.into());
        self
    }

    /// The channel on which nodes tell each other of removals.
    #[must_use]
    pub fn invalidation_channel_name(&self) -> String {
        self.channel.clone().unwrap_or_else(|| format!("{}:invalidate", self.namespace))
    }

    /// How long one operation may take in all: waiting for a connection, queueing, the reply.
    /// 250 ms by default; 1 ms to 60 s.
    #[must_use]
    pub fn operation_timeout(mut self, timeout: Duration) -> Self {
        self.operation_timeout = timeout;
        self
    }

    /// How many connections small operations share: 2 by default; 1 to 64. One more for large
    /// values and one more for scans come on top. More of them keep a large reply from holding up
    /// the small ones behind it; fewer send fuller packets.
    #[must_use]
    pub fn connections(mut self, connections: usize) -> Self {
        self.connections = connections;
        self
    }

    /// How often an idle connection is asked whether it is alive and what time it is: 1 s by
    /// default; 10 ms to 60 s.
    #[must_use]
    pub fn heartbeat_interval(mut self, interval: Duration) -> Self {
        self.heartbeat_interval = interval;
        self
    }

    /// How long a connection may be silent, while an answer is due, before it is replaced: 500 ms
    /// by default; 10 ms to 60 s.
    #[must_use]
    pub fn heartbeat_timeout(mut self, timeout: Duration) -> Self {
        self.heartbeat_timeout = timeout;
        self
    }

    /// The largest encoded value that is stored, in bytes: 20 MiB by default; at most 64 bytes, for
    /// what stands before it, less than the 512 MiB that Redis takes.
    #[must_use]
    pub fn max_value_bytes(mut self, bytes: usize) -> Self {
        self.max_value_bytes = bytes;
        self
    }

    /// The certificates (PEM) that a TLS server must be signed by, in place of the usual public
    /// authorities.
    #[must_use]
    pub fn ca_certificate(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.ca_certificate = Some(Pem(pem.into()));
        self
    }

    /// The clock that the server's is compared with: the system's by default.
    #[must_use]
    pub fn clock(mut self, clock: impl Into<Clock>) -> Self {
        self.clock = clock.into();
        self
    }

    /// The servers named by the URL, as error messages and log lines name them.
    #[must_use]
    pub fn address(&self) -> String {
        let list = |nodes: &[Endpoint]| {
            nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        };
        match &self.topology {
            Topology::Server(endpoint) => endpoint.to_string(),
            Topology::Cluster(nodes) => format!("cluster {}", list(nodes)),
            Topology::Sentinel { service, sentinels, .. } => {
                format!("primary {service:?} of sentinels {}", list(sentinels))
            }
        }
    }

    /// How long one attempt to connect may take: four operations, 500 ms to 1 s. Not more, for an
    /// attempt that began while the server was away ends and the next begins within 2 s of its
    /// return; not less, for name, TLS and login take several round trips.
    pub(crate) fn connect_timeout(&self) -> Duration {
        (self.operation_timeout * 4).clamp(Duration::from_millis(500), Duration::from_secs(1))
    }

    pub(crate) fn check(&self) -> Result<(), CacheError> {
        let second = Duration::from_secs(1);
        let range = |name: &str, value: Duration, least: Duration| {
            if value >= least && value <= second * 60 {
                return Ok(());
            }
            Err(bad(format!("{name} is {value:?}, it can be {least:?} to 60s")))
        };
        range("operation_timeout", self.operation_timeout, Duration::from_millis(1))?;
        range("heartbeat_interval", self.heartbeat_interval, Duration::from_millis(10))?;
        range("heartbeat_timeout", self.heartbeat_timeout, Duration::from_millis(10))?;
        if self.default_ttl < Duration::from_millis(1) {
            return Err(bad(format!(
                "default_ttl is {:?}, it can be 1ms or more: with less nothing would be stored",
                self.default_ttl
            )));
        }
        if !(1..=64).contains(&self.connections) {
            return Err(bad(format!("connections is {}, it can be 1 to 64", self.connections)));
        }
        if !(1..=128).contains(&self.namespace.len()) {
            return Err(bad(format!(
                "namespace has {} bytes, it can have 1 to 128",
                self.namespace.len()
            )));
        }
        let channel = self.invalidation_channel_name();
        if !(1..=256).contains(&channel.len()) {
            return Err(bad(format!(
                "invalidation_channel has {} bytes, it can have 1 to 256",
                channel.len()
            )));
        }
        if self.max_value_bytes > MAX_VALUE_BYTES {
            return Err(bad(format!(
                "max_value_bytes is {}, it can be at most {MAX_VALUE_BYTES}: Redis takes 512 MiB with \
                 what stands before a value",
                self.max_value_bytes
            )));
        }
        Ok(())
    }
}

fn bad(message: String) -> CacheError {
    CacheError::new(ErrorKind::Config, message)
}

/// What kind of Redis it is.
#[derive(Clone, Debug)]
pub(crate) enum Topology {
    Server(Endpoint),
    Cluster(Vec<Endpoint>),
    Sentinel { service: String, sentinels: Vec<Endpoint>, credentials: Credentials },
}

/// Where one server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Tcp { host: String, port: u16 },
    Unix(PathBuf),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Who we are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Credentials {
    pub(crate) user: Option<String>,
    pub(crate) password: Option<Secret>,
}

/// A string that no `Debug` shows.
#[derive(Clone)]
pub(crate) struct Secret(String);

impl Secret {
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(secret: String) -> Self {
        Self(secret)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<hidden>")
    }
}

/// Certificates as text; public, but too long for a log line.
#[derive(Clone)]
pub(crate) struct Pem(pub(crate) Vec<u8>);

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} bytes>", self.0.len())
    }
}
