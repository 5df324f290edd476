//! What a server is started with, and its configuration file.

use std::fmt::Write;
use std::path::Path;

use super::port::random;

/// The user by whom [`RedisServer::command`](super::RedisServer::command) gets in, whatever
/// happens to the others.
pub(super) const ADMIN: &str = "cache-testkit";

/// What the builder collects.
#[derive(Clone, Debug, Default)]
pub(super) struct Options {
    pub(super) kind: Kind,
    pub(super) login: Login,
    pub(super) tls: bool,
    pub(super) unix_socket: bool,
    pub(super) persistent: bool,
    pub(super) max_memory: Option<(u64, String)>,
    pub(super) lines: Vec<String>,
}

/// Which of the programs in the one binary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Kind {
    #[default]
    Standalone,
    /// A primary or a replica, as a sentinel decides.
    Replicated,
    Cluster,
    Sentinel,
}

impl Kind {
    /// Whether a restart goes by the configuration file that the last run has left: roles and what
    /// a sentinel has learned are written there.
    pub(super) fn keeps_config(self) -> bool {
        matches!(self, Self::Replicated | Self::Sentinel)
    }
}

/// How clients get in.
#[derive(Clone, Default)]
pub(super) enum Login {
    #[default]
    Open,
    Password(String),
    User {
        name: String,
        password: String,
    },
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Open => f.write_str("Open"),
            Self::Password(_) => f.write_str("Password(..)"),
            Self::User { name, .. } => f.debug_struct("User").field("name", name).finish(),
        }
    }
}

/// Where the server shall listen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ports<'a> {
    pub(super) plain: u16,
    pub(super) tls: Option<u16>,
    pub(super) bus: Option<u16>,
    pub(super) socket: Option<&'a Path>,
}

impl Options {
    /// The configuration file for a server in `dir`.
    pub(super) fn config(
        &self,
        ports: Ports<'_>,
        dir: &Path,
        login: &Login,
        admin: &str,
    ) -> String {
        let mut lines = vec![
            "bind 127.0.0.1".to_owned(),
            "protected-mode no".to_owned(),
            "daemonize no".to_owned(),
            "logfile \"\"".to_owned(),
            format!("port {}", ports.plain),
            format!("dir {}", quote(&dir.to_string_lossy())),
        ];
        if self.kind != Kind::Sentinel {
            self.describe_store(ports, login, admin, &mut lines);
        }
        lines.extend(self.lines.iter().cloned());
        lines.push(String::new());
        lines.join("\n")
    }

    fn describe_store(
        &self,
        ports: Ports<'_>,
        login: &Login,
        admin: &str,
        lines: &mut Vec<String>,
    ) {
        lines.extend([
            "save \"\"".to_owned(),
            // A replica that lags must not hold up the end of a test.
            "shutdown-timeout 0".to_owned(),
            "repl-diskless-sync-delay 0".to_owned(),
            "enable-debug-command local".to_owned(),
            format!("user {ADMIN} on >{admin} ~* &* +@all"),
        ]);
        if self.persistent {
            lines.extend(["appendonly yes".to_owned(), "appendfsync everysec".to_owned()]);
        }
        if let Some((bytes, policy)) = &self.max_memory {
            lines.extend([format!("maxmemory {bytes}"), format!("maxmemory-policy {policy}")]);
        }
        if let Some(path) = ports.socket {
            lines.push(format!("unixsocket {}", quote(&path.to_string_lossy())));
        }
        if let Some(port) = ports.tls {
            lines.extend([
                format!("tls-port {port}"),
                "tls-cert-file server.pem".to_owned(),
                "tls-key-file server.key".to_owned(),
                "tls-ca-cert-file ca.pem".to_owned(),
                "tls-auth-clients no".to_owned(),
            ]);
        }
        if let Some(port) = ports.bus {
            lines.extend([
                "cluster-enabled yes".to_owned(),
                "cluster-config-file nodes.conf".to_owned(),
                format!("cluster-port {port}"),
            ]);
        }
        match login {
            Login::Open => {}
            Login::Password(password) => lines.push(format!("requirepass {}", quote(password))),
            Login::User { name, password } => lines.extend([
                "user default off".to_owned(),
                format!("user {} on {} ~* &* +@all", quote(name), quote(&format!(">{password}"))),
            ]),
        }
    }
}

/// A password nobody guesses by accident.
pub(super) fn new_secret() -> String {
    format!("{:016x}{:016x}", random(), random())
}

/// One argument of a configuration line.
fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => quoted.extend(['\\', char::from(byte)]),
            b' '..=b'~' => quoted.push(char::from(byte)),
            _ => write!(quoted, "\\x{byte:02x}").expect("a string takes it"),
        }
    }
    quoted.push('"');
    quoted
}
