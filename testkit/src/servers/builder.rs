//! The settings of a [`RedisServer`].

use super::RedisServer;
use super::options::{Kind, Login, Options};

/// What a [`RedisServer`] is started with; made by [`RedisServer::builder`].
///
/// ```
/// use cache_testkit::RedisServer;
///
/// let server = RedisServer::builder()
///     .password("s3cret")
///     .max_memory(3_000_000, "noeviction")
///     .config("maxclients 100")
///     .start();
/// assert_eq!(server.url(), format!("redis://:s3cret@127.0.0.1:{}", server.port()));
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "it does nothing until started"]
pub struct RedisServerBuilder {
    options: Options,
}

impl RedisServerBuilder {
    pub(super) fn of(kind: Kind) -> Self {
        Self { options: Options { kind, ..Options::default() } }
    }

    /// Asks every client for this password (`requirepass`). Takes the place of an ACL user.
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.options.login = Login::Password(password.into());
        self
    }

    /// Lets in this user only, who may do everything; who gives no name is refused. Takes the
    /// place of a password.
    pub fn user(mut self, name: impl Into<String>, password: impl Into<String>) -> Self {
        self.options.login = Login::User { name: name.into(), password: password.into() };
        self
    }

    /// Listens with TLS, with a certificate for `127.0.0.1` and `localhost` that an authority of
    /// its own has signed: [`RedisServer::ca_pem`]. Clients need no certificate.
    pub fn tls(mut self) -> Self {
        self.options.tls = true;
        self
    }

    /// Listens on a unix socket, too, and [`RedisServer::url`] names that.
    pub fn unix_socket(mut self) -> Self {
        self.options.unix_socket = true;
        self
    }

    /// Keeps the data over [`stop`](RedisServer::stop), [`kill`](RedisServer::kill) and
    /// [`restart`](RedisServer::restart): an append-only file, synced every second. Without it a
    /// restarted server is empty.
    pub fn persistent(mut self) -> Self {
        self.options.persistent = true;
        self
    }

    /// Bounds the server's memory: `maxmemory` in bytes and `maxmemory-policy`, such as
    /// `noeviction` or `allkeys-lru`. An empty server takes about 1.5 MB
    /// of it, and commands under way count, too.
    pub fn max_memory(mut self, bytes: u64, policy: impl Into<String>) -> Self {
        self.options.max_memory = Some((bytes, policy.into()));
        self
    }

    /// Adds a line to the configuration file, after everything else.
    pub fn config(mut self, line: impl Into<String>) -> Self {
        self.options.lines.push(line.into());
        self
    }

    /// Starts the server and waits until it answers.
    ///
    /// # Panics
    ///
    /// If there is no `redis-server` in `PATH`, saying how to install it; if the server ends or
    /// does not answer within 10 s, with what it has logged.
    #[must_use]
    pub fn start(self) -> RedisServer {
        RedisServer::launch_new(&self.options)
    }
}
