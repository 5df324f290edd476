//! Asking a server, and changing it, from outside.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use super::options::{ADMIN, Kind, Login};
use super::resp::{Connection, Reply};
use super::sentinel::PERIODS;
use super::server::RedisServer;

/// How long a server may take to answer a command.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long one that is being started may.
const PROBE: Duration = Duration::from_millis(500);

impl RedisServer {
    /// Runs a command, on a connection of its own, as a user who may do everything; passwords and
    /// TLS do not matter. Arguments may hold any bytes.
    ///
    /// # Panics
    ///
    /// If the server answers with an error, or not within 5 s. To see errors use
    /// [`try_command`](Self::try_command).
    ///
    /// ```
    /// # use cache_testkit::RedisServer;
    /// let server = RedisServer::start();
    /// assert_eq!(server.command(&["CONFIG", "SET", "maxmemory", "1mb"]), "OK");
    /// assert_eq!(server.command(&["LRANGE", "queue", "0", "-1"]).list().len(), 0);
    /// ```
    #[track_caller]
    pub fn command<A: AsRef<[u8]>>(&self, command: &[A]) -> Reply {
        let name = || command.iter().map(|a| String::from_utf8_lossy(a.as_ref())).next();
        match self.try_command(command) {
            Ok(Reply::Error(error)) => panic!("{:?} on {self:?}: {error}", name()),
            Ok(reply) => reply,
            Err(error) => panic!("{:?} on {self:?}: {error}", name()),
        }
    }

    /// As [`command`](Self::command); what the server refuses is a [`Reply::Error`].
    ///
    /// # Errors
    ///
    /// If the server is not there or does not answer within 5 s.
    pub fn try_command<A: AsRef<[u8]>>(&self, command: &[A]) -> io::Result<Reply> {
        self.connect(PATIENCE)?.call(command)
    }

    /// How often each command ran since the server started or
    /// [`reset_commandstats`](Self::reset_commandstats), by its name in small letters
    /// (`get`, `config|set`). What goes through [`command`](Self::command) and its relatives is
    /// counted like everything else, the `info` of an earlier call of this included.
    ///
    /// # Panics
    ///
    /// As [`command`](Self::command).
    ///
    /// ```
    /// # use cache_testkit::RedisServer;
    /// let server = RedisServer::start();
    /// server.command(&["GET", "a"]);
    /// assert_eq!(server.commandstats()["get"], 1);
    /// ```
    #[must_use]
    #[track_caller]
    pub fn commandstats(&self) -> BTreeMap<String, u64> {
        self.info("commandstats")
            .into_iter()
            .filter_map(|(name, fields)| {
                let name = name.strip_prefix("cmdstat_")?.to_owned();
                let calls = fields.strip_prefix("calls=")?.split(',').next()?.parse().ok()?;
                (calls > 0).then_some((name, calls))
            })
            .collect()
    }

    /// Begins to count anew. The command that does it, `config|resetstat`, is the first to be
    /// counted.
    ///
    /// # Panics
    ///
    /// As [`command`](Self::command).
    #[track_caller]
    pub fn reset_commandstats(&self) {
        self.command(&["CONFIG", "RESETSTAT"]);
    }

    /// The fields of a section of `INFO`, such as `memory` or `replication`.
    ///
    /// # Panics
    ///
    /// As [`command`](Self::command).
    #[must_use]
    #[track_caller]
    pub fn info(&self, section: &str) -> BTreeMap<String, String> {
        fields(&self.command(&["INFO", section]).text())
    }

    /// Changes the password: that of the ACL user if the server was built with one, else that of
    /// everybody. [`url`](Self::url) has it from then on, and a restart keeps it. As Redis has it,
    /// connections that are logged in stay so: [`disconnect_clients`](Self::disconnect_clients).
    ///
    /// # Panics
    ///
    /// As [`command`](Self::command).
    #[track_caller]
    pub fn set_password(&self, password: &str) {
        let mut login = self.login().lock();
        match &mut *login {
            Login::User { name, password: current } => {
                let rule = format!(">{password}");
                self.command(&["ACL", "SETUSER", name.as_str(), "resetpass", &rule]);
                password.clone_into(current);
            }
            Login::Open | Login::Password(_) => {
                self.command(&["CONFIG", "SET", "requirepass", password]);
                *login = if password.is_empty() {
                    Login::Open
                } else {
                    Login::Password(password.to_owned())
                };
            }
        }
    }

    /// Closes the connections of all clients; they may come back. Returns how many there were.
    ///
    /// # Panics
    ///
    /// As [`command`](Self::command).
    #[track_caller]
    pub fn disconnect_clients(&self) -> usize {
        let mut killed = 0;
        for kind in ["normal", "pubsub"] {
            killed += self.command(&["CLIENT", "KILL", "TYPE", kind]).integer();
        }
        usize::try_from(killed).expect("a count")
    }

    /// Removes every key of every database.
    ///
    /// # Panics
    ///
    /// As [`command`](Self::command).
    #[track_caller]
    pub fn flush(&self) {
        self.command(&["FLUSHALL"]);
    }

    /// Whether a process with this id answers at the server's address, not somebody else's.
    pub(super) fn answers(&self, pid: u32) -> bool {
        let ask = || {
            let mut connection = self.connect(PROBE)?;
            Ok::<_, io::Error>((connection.call(&["PING"])?, connection.call(&["INFO", "server"])?))
        };
        match ask() {
            Ok((pong, Reply::Bytes(info))) if pong == "PONG" => {
                let fields = fields(&String::from_utf8_lossy(&info));
                fields.get("process_id").is_some_and(|id| *id == pid.to_string())
            }
            _ => false,
        }
    }

    /// What is left to do once the server answers.
    pub(super) fn settle(&self) {
        if self.kind() == Kind::Sentinel {
            self.command(PERIODS);
        } else {
            // That it was asked whether it is there does not count.
            self.reset_commandstats();
        }
    }

    fn connect(&self, patience: Duration) -> io::Result<Privileged<'_>> {
        let connection = Connection::open(&self.endpoint(), patience)?;
        Ok(Privileged { connection, secret: self.admin_secret() })
    }
}

/// A connection that logs in when, and only when, it has to: so that a server without passwords
/// counts no logins.
struct Privileged<'a> {
    connection: Connection,
    secret: &'a str,
}

impl Privileged<'_> {
    fn call<A: AsRef<[u8]>>(&mut self, command: &[A]) -> io::Result<Reply> {
        let reply = self.connection.call(command)?;
        match &reply {
            // Refused before it did anything: it can be sent again.
            Reply::Error(error) if error.starts_with("NOAUTH") || error.starts_with("NOPERM") => {
                match self.connection.call(&["AUTH", ADMIN, self.secret])? {
                    refused @ Reply::Error(_) => Ok(refused),
                    _ => self.connection.call(command),
                }
            }
            _ => Ok(reply),
        }
    }
}

/// The `name:value` lines of what `INFO` answers.
pub(super) fn fields(info: &str) -> BTreeMap<String, String> {
    info.lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}
