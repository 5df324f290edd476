//! A TCP proxy that spoils the way to a server.

mod counters;
mod faults;
mod line;
mod relay;
mod way;

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::LocalSet;

use self::counters::Counters;
use self::faults::{Faults, Switch};
use self::relay::accept;
use super::url::{parameter, split};

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Requests.
    ToServer,
    /// Replies.
    ToClient,
    /// All of them.
    Both,
}

/// What a [`FaultProxy`] leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// A host and a port.
    Tcp(String),
    /// The path of a unix socket.
    Unix(String),
}

/// A proxy on a free port of 127.0.0.1 that forwards to a server until told otherwise.
///
/// It runs in a thread of its own, so it does its work however busy, blocked or single-threaded the
/// test's runtime is. All methods take effect at once, on connections that are open as well as on
/// those to come, and may be called from anywhere; faults add up until [`heal`](Self::heal). On
/// drop every connection is closed and the thread has ended.
///
/// Bytes are forwarded as they come: TLS passes through, and nothing is known of Redis.
///
/// ```
/// use std::time::Duration;
/// use cache_testkit::{FaultProxy, RedisServer};
///
/// let server = RedisServer::start();
/// let proxy = FaultProxy::start(&server.url());
/// let url = proxy.url(&server.url()); // hand this to the client
/// assert_eq!(url, format!("redis://127.0.0.1:{}", proxy.port()));
///
/// proxy.latency(Duration::from_millis(300)); // and back: a round trip takes 600 ms
/// proxy.cut(); // connections are reset, new ones too
/// proxy.heal(); // all is well
/// ```
pub struct FaultProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What the handle and the thread share.
#[derive(Debug)]
struct Shared {
    target: Target,
    switch: Switch,
    counters: Counters,
}

impl FaultProxy {
    /// Starts a proxy to `target`: `host:port`, the absolute path of a unix socket, or a Redis URL
    /// that names either.
    ///
    /// The target need not be there yet: a client is reset if it is not there when it connects.
    ///
    /// # Panics
    ///
    /// If `target` is none of these.
    #[must_use]
    pub fn start(target: &str) -> Self {
        Self::try_start(parse(target)).expect("a listener on 127.0.0.1 and a thread")
    }

    fn try_start(target: Target) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let shared =
            Arc::new(Shared { target, switch: Switch::new(), counters: Counters::default() });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name("fault-proxy".to_owned()).spawn({
            let shared = shared.clone();
            move || {
                LocalSet::new().block_on(&runtime, async {
                    tokio::select! {
                        _ = stopped => {}
                        () = accept(listener, shared) => {}
                    }
                });
            }
        })?;
        Ok(Self { address, shared, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// The port of [`addr`](Self::addr).
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// `url` with its host and port replaced by the proxy's. A `redis+unix://` URL becomes a
    /// `redis://` one with the same user, password and database.
    ///
    /// # Panics
    ///
    /// If it is not a URL.
    #[must_use]
    pub fn url(&self, url: &str) -> String {
        let parts = split(url).unwrap_or_else(|| panic!("not a URL"));
        if !parts.scheme.ends_with("unix") {
            return format!(
                "{}://{}{}{}",
                parts.scheme, parts.credentials, self.address, parts.rest
            );
        }
        let user = parameter(parts.rest, "user").unwrap_or_default();
        let credentials = parameter(parts.rest, "pass")
            .map_or_else(String::new, |password| format!("{user}:{password}@"));
        let db =
            parameter(parts.rest, "db").map_or_else(String::new, |database| format!("/{database}"));
        format!("redis://{credentials}{}{db}", self.address)
    }

    /// Delays everything by this much each way; a round trip takes twice that. Order is kept, and
    /// throughput does not suffer. Zero for no delay; what is under way goes by the new value.
    pub fn latency(&self, each_way: Duration) {
        self.shared.switch.change(|faults| faults.latency = each_way);
    }

    /// Lets through this many bytes per second each way, all connections together, in pieces of
    /// at most 16 KiB.
    ///
    /// # Panics
    ///
    /// If it is zero: that is a [black hole](Self::black_hole).
    pub fn bandwidth(&self, bytes_per_second: u64) {
        assert!(bytes_per_second > 0, "no bandwidth at all is a black hole");
        self.shared.switch.change(|faults| faults.bandwidth = Some(bytes_per_second));
    }

    /// Resets every open connection, and each new one as soon as it is accepted, until
    /// [`heal`](Self::heal).
    pub fn cut(&self) {
        self.shared.switch.change(|faults| {
            faults.cut = true;
            faults.generation += 1;
        });
    }

    /// Resets every open connection once; new ones are served.
    pub fn reset_connections(&self) {
        self.shared.switch.change(|faults| faults.generation += 1);
    }

    /// Swallows what goes this way, without a word to either side; connections stay open and new
    /// ones are accepted.
    ///
    /// A connection that has lost bytes or its peer's farewell this way stays silent for good, even
    /// after [`heal`](Self::heal): like one whose peer has gone away without a goodbye. (It cannot
    /// be healed: a reply would be taken for that to an earlier request.) New connections and those
    /// on which nothing was lost are well.
    pub fn black_hole(&self, direction: Direction) {
        self.shared.switch.change(|faults| {
            if direction != Direction::ToClient {
                faults.swallow.to_server = true;
            }
            if direction != Direction::ToServer {
                faults.swallow.to_client = true;
            }
        });
    }

    /// Lets requests through and swallows the replies:
    /// [`black_hole`](Self::black_hole)`(Direction::ToClient)`.
    pub fn drop_replies(&self) {
        self.black_hole(Direction::ToClient);
    }

    /// The next `replies` replies are lost: each time the server answers, so that it has surely
    /// done what it was asked, the connection is reset instead of passing the answer on. What comes
    /// after those is delivered. The answers to what a client says on connecting are replies, too:
    /// use connections that are established, or count them in.
    pub fn cut_after_forwarding(&self, replies: u64) {
        self.shared.switch.change(|faults| faults.lose_replies = replies);
    }

    /// Ends all faults.
    pub fn heal(&self) {
        self.shared.switch.change(Faults::heal);
    }

    /// How many connections it has accepted so far, those it has reset at once included.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.shared.counters.connections()
    }

    /// How many connections are open now.
    #[must_use]
    pub fn open_connections(&self) -> u64 {
        self.shared.counters.open()
    }

    /// How many bytes have been let through to the server.
    #[must_use]
    pub fn bytes_to_server(&self) -> u64 {
        self.shared.counters.to_server.get()
    }

    /// How many bytes have been let through to clients.
    #[must_use]
    pub fn bytes_to_client(&self) -> u64 {
        self.shared.counters.to_client.get()
    }

    /// How many round trips clients have begun: how often a client has sent something on a
    /// connection on which nothing had been sent since the last reply. A pipeline is one. It is the
    /// number of round trips as long as a connection is used for one thing at a time.
    #[must_use]
    pub fn round_trips(&self) -> u64 {
        self.shared.counters.round_trips.get()
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for FaultProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultProxy")
            .field("addr", &self.address)
            .field("target", &self.shared.target)
            .field("faults", &self.shared.switch.now())
            .finish_non_exhaustive()
    }
}

fn parse(target: &str) -> Target {
    let (is_path, place) = match split(target) {
        Some(parts) => (parts.scheme.ends_with("unix"), parts.authority),
        None => (target.starts_with('/'), target),
    };
    if is_path {
        return Target::Unix(place.to_owned());
    }
    let port = place.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    assert!(port.is_some(), "neither host:port nor the path of a unix socket: {place:?}");
    Target::Tcp(place.to_owned())
}
