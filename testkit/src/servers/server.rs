//! One throw-away Redis server: its life from start to drop.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::process::Signal;

use super::builder::RedisServerBuilder;
use super::dir::TempDir;
use super::launch::{Failure, launch, on_free_ports};
use super::options::{Kind, Login, Options, Ports, new_secret};
use super::port::Port;
use super::process::Process;
use super::resp::Endpoint;
use super::tls::Certificates;
use super::url::encode;

/// How long a server may take to end when asked to.
const GRACE: Duration = Duration::from_secs(5);

/// A Redis server of one's own, on a free port of 127.0.0.1, gone when dropped.
///
/// It comes from the `redis-server` binary in `PATH`, starts in some 20 ms and keeps everything in
/// a temporary directory. No server is left behind: not by a panic, and not by a test process that
/// is killed.
///
/// Every method blocks, for milliseconds as a rule; none needs a runtime, and all may be called
/// within one. All take `&self`: a server can be shared among threads and put into a `static`.
///
/// ```
/// use cache_testkit::RedisServer;
///
/// let server = RedisServer::start();
/// server.command(&["SET", "greeting", "hello"]);
/// assert_eq!(server.command(&["GET", "greeting"]), "hello");
///
/// server.restart();
/// assert_eq!(server.command(&["EXISTS", "greeting"]).integer(), 0); // not persistent
/// ```
pub struct RedisServer {
    /// Before the directory, so that nothing is written there any more when that is removed.
    process: Mutex<Option<Process>>,
    dir: TempDir,
    options: Options,
    login: Mutex<Login>,
    admin: String,
    plain: Port,
    tls: Option<(Port, Certificates)>,
    bus: Option<Port>,
}

impl RedisServer {
    /// Starts a server without password, TLS or persistence.
    ///
    /// # Panics
    ///
    /// As [`RedisServerBuilder::start`].
    #[must_use]
    pub fn start() -> Self {
        Self::builder().start()
    }

    /// For a server with a password, TLS and so on.
    pub fn builder() -> RedisServerBuilder {
        RedisServerBuilder::of(Kind::Standalone)
    }

    pub(super) fn launch_new(options: &Options) -> Self {
        on_free_ports(|| {
            let server = Self::prepare(options.clone());
            server.launch()?;
            Ok(server)
        })
    }

    /// A server that is not started yet.
    pub(super) fn prepare(options: Options) -> Self {
        let dir = TempDir::new();
        let tls = options.tls.then(|| {
            let certificates = Certificates::new();
            dir.write("ca.pem", &certificates.ca);
            dir.write("server.pem", &certificates.certificate);
            dir.write("server.key", &certificates.key);
            (Port::claim(), certificates)
        });
        Self {
            process: Mutex::new(None),
            login: Mutex::new(options.login.clone()),
            admin: new_secret(),
            plain: Port::claim(),
            bus: (options.kind == Kind::Cluster).then(Port::claim),
            tls,
            dir,
            options,
        }
    }

    /// Starts the process of a server that has none.
    pub(super) fn launch(&self) -> Result<(), Failure> {
        *self.process.lock() = Some(launch(self)?);
        self.settle();
        Ok(())
    }

    /// Where clients find the server, credentials included: `redis://`, `rediss://` or
    /// `redis+unix://`, whichever it was built for.
    #[must_use]
    pub fn url(&self) -> String {
        let login = self.login.lock();
        if let Some(path) = self.socket_path() {
            let query = match &*login {
                Login::Open => String::new(),
                Login::Password(password) => format!("?pass={}", encode(password)),
                Login::User { name, password } => {
                    format!("?user={}&pass={}", encode(name), encode(password))
                }
            };
            return format!("redis+unix://{}{query}", path.display());
        }
        let scheme = if self.tls.is_some() { "rediss" } else { "redis" };
        let credentials = match &*login {
            Login::Open => String::new(),
            Login::Password(password) => format!(":{}@", encode(password)),
            Login::User { name, password } => format!("{}:{}@", encode(name), encode(password)),
        };
        format!("{scheme}://{credentials}{}", self.addr())
    }

    /// The port for clients; the one with TLS if the server has that. It stays the same over
    /// restarts.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.tls.as_ref().map_or(&self.plain, |(port, _)| port).number()
    }

    /// The address that belongs to [`port`](Self::port).
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port()).into()
    }

    /// The unix socket, if the server was built with one.
    #[must_use]
    pub fn socket_path(&self) -> Option<PathBuf> {
        self.options.unix_socket.then(|| self.dir.path().join("redis.sock"))
    }

    /// The certificate of the authority to trust, in PEM.
    ///
    /// # Panics
    ///
    /// If the server was built without TLS.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        let (_, certificates) = self.tls.as_ref().expect("the server was built without TLS");
        &certificates.ca
    }

    /// The server's process id.
    ///
    /// # Panics
    ///
    /// If it is stopped.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.with_process(Process::pid)
    }

    /// Whether the server's process is there, paused or not.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.process.lock().as_ref().is_some_and(|process| !process.ends_within(Duration::ZERO))
    }

    /// Shuts the server down in good order and waits until it is gone; resumes it first if it is
    /// paused. Does nothing if it is stopped already.
    ///
    /// # Panics
    ///
    /// If it has not ended after 5 s (it is killed then).
    pub fn stop(&self) {
        let Some(process) = self.process.lock().take() else { return };
        process.signal(Signal::CONT);
        process.signal(Signal::TERM);
        assert!(process.ends_within(GRACE), "{self:?} did not end within {GRACE:?}");
    }

    /// Kills the server (`SIGKILL`) and waits until it is gone. Does nothing if it is stopped
    /// already.
    pub fn kill(&self) {
        drop(self.process.lock().take());
    }

    /// [Stops](Self::stop) the server if it runs, starts it on the same port with the same
    /// directory and the present credentials, and waits until it answers. What
    /// `CONFIG SET` has changed is forgotten.
    ///
    /// # Panics
    ///
    /// As [`stop`](Self::stop) and [`RedisServerBuilder::start`]; if somebody else has taken the
    /// port.
    pub fn restart(&self) {
        self.stop();
        match self.launch() {
            Ok(()) => {}
            Err(Failure::AddressInUse) => panic!("the port of {self:?} was taken meanwhile"),
            Err(Failure::Other(message)) => panic!("{message}"),
        }
    }

    /// Halts the server (`SIGSTOP`): it keeps its connections, the kernel accepts more of them,
    /// and nothing is answered until [`resume`](Self::resume).
    ///
    /// # Panics
    ///
    /// If it is stopped.
    pub fn pause(&self) {
        self.with_process(|process| process.signal(Signal::STOP));
    }

    /// Lets a paused server go on.
    ///
    /// # Panics
    ///
    /// If it is stopped.
    pub fn resume(&self) {
        self.with_process(|process| process.signal(Signal::CONT));
    }

    fn with_process<T>(&self, act: impl FnOnce(&Process) -> T) -> T {
        act(self.process.lock().as_ref().expect("the server is stopped"))
    }

    /// Where [`command`](Self::command) connects: never through TLS.
    pub(super) fn endpoint(&self) -> Endpoint {
        self.socket_path().map_or(Endpoint::Port(self.plain.number()), Endpoint::Path)
    }

    pub(super) fn admin_secret(&self) -> &str {
        &self.admin
    }

    pub(super) fn login(&self) -> &Mutex<Login> {
        &self.login
    }

    pub(super) fn kind(&self) -> Kind {
        self.options.kind
    }

    pub(super) fn dir(&self) -> &TempDir {
        &self.dir
    }

    pub(super) fn config_text(&self) -> String {
        let socket = self.socket_path();
        let ports = Ports {
            plain: self.plain.number(),
            tls: self.tls.as_ref().map(|(port, _)| port.number()),
            bus: self.bus.as_ref().map(Port::number),
            socket: socket.as_deref(),
        };
        self.options.config(ports, self.dir.path(), &self.login.lock(), &self.admin)
    }

    /// The port of the cluster bus.
    pub(super) fn bus_port(&self) -> u16 {
        self.bus.as_ref().expect("a cluster node").number()
    }
}

impl fmt::Debug for RedisServer {
    /// Without credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisServer")
            .field("addr", &self.addr())
            .field("dir", &self.dir.path())
            .finish_non_exhaustive()
    }
}
