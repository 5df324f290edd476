//! Opening one connection to one server: socket, TLS, login, first questions.

use std::io;
use std::time::Duration;

use cache_core::{CacheError, ErrorKind};
use futures_util::future::select_ok;
use redis::aio::{AsyncPushSender, MultiplexedConnection};
use redis::{AsyncConnectionConfig, Pipeline, ProtocolVersion, RedisConnectionInfo, RedisError};
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio_rustls::TlsConnector;

use super::gather::{Gathering, Load};
use super::stream::{Progress, Watched};
use super::task::Task;
use crate::config::{Credentials, Endpoint};
use crate::error::{classify, refusal, unavailable};

/// How to open a connection, whatever the server.
#[derive(Clone)]
pub(crate) struct Dialer {
    pub(crate) tls: Option<TlsConnector>,
    /// After this long without an acknowledgement the kernel gives a connection up.
    pub(crate) user_timeout: Duration,
}

/// An open connection, logged in.
pub(crate) struct Opened {
    pub(crate) connection: MultiplexedConnection,
    pub(crate) progress: Progress,
    /// Moves the bytes; ends when the connection does.
    pub(crate) driver: Task,
}

impl Dialer {
    /// Opens a connection to `endpoint`, which will carry `load`, and logs in.
    ///
    /// # Errors
    ///
    /// Naming the endpoint and the reason, never a credential: what a server answers to a login is
    /// not quoted, for some quote the command.
    pub(crate) async fn open(
        &self,
        endpoint: &Endpoint,
        credentials: &Credentials,
        db: u32,
        load: &Load,
    ) -> Result<Opened, CacheError> {
        let info = RedisConnectionInfo::default().set_skip_set_lib_name();
        let mut opened = self
            .connect(endpoint, Setup { info, config: quiet() }, load)
            .await?
            .map_err(|error| classify(&error, &endpoint.to_string()).0)?;
        login(&mut opened.connection, endpoint, credentials, db).await?;
        Ok(opened)
    }

    /// As [`open`](Self::open), for a connection on which the server also speaks unasked (RESP3):
    /// `pushes` gets what it says, in order.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub(crate) async fn open_for_pushes(
        &self,
        endpoint: &Endpoint,
        credentials: &Credentials,
        pushes: impl AsyncPushSender,
    ) -> Result<Opened, CacheError> {
        // HELLO wants the login with it.
        let mut info = RedisConnectionInfo::default()
            .set_skip_set_lib_name()
            .set_protocol(ProtocolVersion::RESP3);
        if let Some(password) = &credentials.password {
            info = info.set_password(password.reveal());
            if let Some(user) = &credentials.user {
                info = info.set_username(user);
            }
        }
        let setup = Setup { info, config: quiet().set_push_sender(pushes) };
        let mut opened = self
            .connect(endpoint, setup, &Load::default())
            .await?
            .map_err(|error| greeting_refused(&error, &endpoint.to_string()))?;
        login(&mut opened.connection, endpoint, &Credentials::default(), 0).await?;
        Ok(opened)
    }

    /// The way there, and what redis-rs says first. Its errors are left to the caller, who knows
    /// whether they may be quoted.
    async fn connect(
        &self,
        endpoint: &Endpoint,
        setup: Setup,
        load: &Load,
    ) -> Result<Result<Opened, RedisError>, CacheError> {
        let progress = Progress::new();
        let refused = |error: io::Error| unavailable(&endpoint.to_string(), &describe(&error));
        let multiplexed = match (endpoint, &self.tls) {
            (Endpoint::Unix(path), _) => {
                let stream = UnixStream::connect(path).await.map_err(refused)?;
                multiplex(Watched::new(stream, progress.clone()), setup, load).await
            }
            (Endpoint::Tcp { host, port }, None) => {
                let stream = self.tcp(host, *port).await.map_err(refused)?;
                multiplex(Watched::new(stream, progress.clone()), setup, load).await
            }
            (Endpoint::Tcp { host, port }, Some(tls)) => {
                let stream = self.tcp(host, *port).await.map_err(refused)?;
                let name = ServerName::try_from(host.clone()).map_err(|error| {
                    CacheError::new(ErrorKind::Config, format!("{endpoint}: no name for TLS"))
                        .with_source(error)
                })?;
                let stream = Watched::new(stream, progress.clone());
                let stream = tls.connect(name, stream).await.map_err(|error| {
                    // What rustls refuses, it refuses again; a peer that hung up may come round.
                    let kind = match error.kind() {
                        io::ErrorKind::InvalidData => ErrorKind::Config,
                        _ => ErrorKind::Unavailable,
                    };
                    CacheError::new(kind, format!("{endpoint}: TLS failed: {error}"))
                        .with_retryable(true)
                })?;
                multiplex(stream, setup, load).await
            }
        };
        Ok(multiplexed.map(|(connection, driver)| Opened { connection, progress, driver }))
    }

    /// To whichever of the host's addresses answers first.
    async fn tcp(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        let attempts: Vec<_> = lookup_host((host, port))
            .await?
            .map(|address| Box::pin(TcpStream::connect(address)))
            .collect();
        if attempts.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the host has no address"));
        }
        let (stream, _) = select_ok(attempts).await?;
        let keepalive = TcpKeepalive::new()
            .with_time(Duration::from_secs(10))
            .with_interval(Duration::from_secs(2));
        stream.set_nodelay(true)?;
        let socket = SockRef::from(&stream);
        socket.set_tcp_keepalive(&keepalive)?;
        #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
        socket.set_tcp_user_timeout(Some(self.user_timeout))?;
        Ok(stream)
    }
}

/// What redis-rs is to say first, and how it is to treat the connection.
struct Setup {
    info: RedisConnectionInfo,
    config: AsyncConnectionConfig,
}

/// The budget of a call is kept by its caller, across connections.
fn quiet() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(None)
}

/// Sets `stream` up for sharing.
async fn multiplex<S>(
    stream: S,
    Setup { info, config }: Setup,
    load: &Load,
) -> Result<(MultiplexedConnection, Task), RedisError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (connection, driver) =
        MultiplexedConnection::new_with_config(&info, stream, config).await?;
    Ok((connection, Task::spawn(Gathering::new(driver, load.clone()))))
}

async fn login(
    connection: &mut MultiplexedConnection,
    endpoint: &Endpoint,
    credentials: &Credentials,
    db: u32,
) -> Result<(), CacheError> {
    let address = endpoint.to_string();
    let mut pipeline = Pipeline::new();
    if let Some(password) = &credentials.password {
        let auth = pipeline.cmd("AUTH");
        if let Some(user) = &credentials.user {
            auth.arg(user);
        }
        auth.arg(password.reveal());
    }
    if db != 0 {
        pipeline.cmd("SELECT").arg(db);
    }
    pipeline.cmd("PING");
    // For whoever reads CLIENT LIST; a user who may not is none the worse.
    pipeline.cmd("CLIENT").arg("SETNAME").arg("cache-redis");
    let replies = connection
        .send_packed_commands(&pipeline, 0, pipeline.len())
        .await
        .map_err(|error| classify(&error, &address).0)?;
    let mut replies = replies.into_iter();
    if credentials.password.is_some()
        && let Some(error) = replies.next().as_ref().and_then(refusal)
    {
        return Err(refused(&error, &address));
    }
    if db != 0
        && let Some(error) = replies.next().as_ref().and_then(refusal)
    {
        return match classify(&error, &address) {
            (refused, _) if refused.is_retryable() => Err(refused),
            (refused, _) => Err(CacheError::new(
                ErrorKind::Config,
                format!("{address}: it refuses database {db}"),
            )
            .with_source(refused)),
        };
    }
    let pong = replies.next();
    match pong.as_ref().map(refusal) {
        Some(Some(error)) => {
            // A user who may not PING may still GET.
            if error.code() == Some("NOPERM") {
                return Ok(());
            }
            if error.code() == Some("NOAUTH") {
                return Err(unavailable(&address, "it asks for a password"));
            }
            Err(classify(&error, &address).0)
        }
        Some(None) => Ok(()),
        None => Err(unavailable(&address, "it does not answer PING")),
    }
}

/// A refused `HELLO`: most often the login that goes with it.
fn greeting_refused(error: &RedisError, address: &str) -> CacheError {
    match (error.kind(), error.code()) {
        (redis::ErrorKind::RESP3NotSupported, _) | (_, Some("NOPROTO")) => CacheError::new(
            ErrorKind::Config,
            format!("{address}: it does not speak RESP3, which Redis does since version 6"),
        )
        .with_retryable(true),
        (_, Some("NOAUTH")) => unavailable(address, "it asks for a password"),
        (redis::ErrorKind::Io | redis::ErrorKind::Parse, _) => classify(error, address).0,
        _ => refused(error, address),
    }
}

/// A refused login. Without the server's words, source included: some quote the command.
fn refused(error: &RedisError, address: &str) -> CacheError {
    let code = error.code().unwrap_or("no reason given");
    match code {
        "LOADING" | "MASTERDOWN" => unavailable(address, &format!("it is not ready ({code})")),
        _ if error.detail().is_some_and(|text| text.contains("max number of clients")) => {
            unavailable(address, "it has too many clients")
        }
        _ => CacheError::new(
            ErrorKind::Config,
            format!("{address}: it refuses the user name or password ({code})"),
        )
        .with_retryable(true),
    }
}

/// What went wrong, in words that name no address: the caller's do.
fn describe(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused: nothing listens there".to_owned(),
        io::ErrorKind::NotFound => format!("not found: {error}"),
        _ => error.to_string(),
    }
}
