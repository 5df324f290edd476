//! A bus in one process, for many nodes.

use std::fmt;
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use cache_core::{BusEvent, CacheError, Clock, ErrorKind, InvalidationBus, Selector};
use fastrand::Rng;
use futures_core::stream::BoxStream;
use parking_lot::Mutex;

use super::faults::BusFaults;
use super::line::Line;

/// The hub of a bus that stays in the process: one [`node`](Self::node) per node of the fleet.
/// Clones are one hub.
///
/// What goes wrong follows from the seed, the calls and the clock alone. Without faults a message
/// is with the other nodes when `publish` returns.
///
/// ```
/// use cache_core::{BusEvent, InvalidationBus, Selector};
/// use cache_testkit::LocalBus;
/// use futures_util::StreamExt;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let hub = LocalBus::new(1);
/// let (a, b) = (hub.node(), hub.node());
/// let mut heard = b.subscribe();
/// assert_eq!(heard.next().await, Some(BusEvent::Connected));
/// a.publish(&Selector::key("org:acme")).await.unwrap();
/// assert_eq!(heard.next().await, Some(BusEvent::Removed(Selector::key("org:acme"))));
///
/// hub.disconnect(&b);
/// a.publish(&Selector::All).await.unwrap(); // lost to b
/// hub.reconnect(&b);
/// assert_eq!(heard.next().await, Some(BusEvent::Disconnected));
/// assert_eq!(heard.next().await, Some(BusEvent::Connected));
/// # }
/// ```
#[derive(Clone)]
pub struct LocalBus(Arc<Hub>);

struct Hub {
    clock: Clock,
    faults: Arc<Mutex<BusFaults>>,
    state: Mutex<State>,
}

struct State {
    rng: Rng,
    nodes: Vec<Attached>,
    published: u64,
}

/// What the hub knows of a node.
struct Attached {
    connected: bool,
    lines: Vec<Weak<Line>>,
}

impl LocalBus {
    /// A hub on which nothing goes wrong until it is told to.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::lossy(seed, BusFaults::none(), Clock::system())
    }

    /// A hub with these faults, whose delays and outages go by `clock`.
    #[must_use]
    pub fn lossy(seed: u64, faults: BusFaults, clock: impl Into<Clock>) -> Self {
        let state = State { rng: Rng::with_seed(seed), nodes: Vec::new(), published: 0 };
        Self(Arc::new(Hub {
            clock: clock.into(),
            faults: Arc::new(Mutex::new(faults)),
            state: Mutex::new(state),
        }))
    }

    /// Another node, connected.
    #[must_use]
    pub fn node(&self) -> Arc<LocalBusNode> {
        let mut state = self.0.state.lock();
        state.nodes.push(Attached { connected: true, lines: Vec::new() });
        Arc::new(LocalBusNode { hub: self.clone(), index: state.nodes.len() - 1 })
    }

    /// Sets what goes wrong from now on. What is on its way stays so.
    pub fn set_faults(&self, faults: BusFaults) {
        *self.0.faults.lock() = faults;
    }

    /// Ends all faults. What is on its way stays so; who was disconnected by call stays it.
    pub fn heal(&self) {
        self.set_faults(BusFaults::none());
    }

    /// Takes a node off the bus: its subscribers lose what is on its way to them and hear
    /// `Disconnected`, its `publish` fails.
    pub fn disconnect(&self, node: &LocalBusNode) {
        self.0.with(node.index, |node| {
            node.connected = false;
            node.each_line(Line::cut);
        });
    }

    /// Breaks the connection of a node's subscribers; its `publish` goes on working, as over a
    /// second connection.
    pub fn disconnect_subscribers(&self, node: &LocalBusNode) {
        self.0.with(node.index, |node| node.each_line(Line::cut));
    }

    /// Brings a node back that was disconnected, in whichever way; its subscribers hear
    /// `Connected`.
    pub fn reconnect(&self, node: &LocalBusNode) {
        self.0.with(node.index, |node| {
            node.connected = true;
            node.each_line(Line::connect);
        });
    }

    /// Whether every subscriber is connected and has heard everything.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let mut idle = true;
        for node in &mut self.0.state.lock().nodes {
            node.each_line(|line| idle &= line.is_idle());
        }
        idle
    }

    /// How many messages have been published.
    #[must_use]
    pub fn published(&self) -> u64 {
        self.0.state.lock().published
    }
}

impl Hub {
    fn with(&self, index: usize, change: impl FnOnce(&mut Attached)) {
        change(&mut self.state.lock().nodes[index]);
    }
}

impl Attached {
    fn each_line(&mut self, mut each: impl FnMut(&Line)) {
        self.lines.retain(|line| line.upgrade().inspect(|line| each(line)).is_some());
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        for node in &mut self.state.get_mut().nodes {
            node.each_line(Line::close);
        }
    }
}

impl fmt::Debug for LocalBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.0.state.lock();
        f.debug_struct("LocalBus")
            .field("nodes", &state.nodes.len())
            .field("published", &state.published)
            .field("faults", &*self.0.faults.lock())
            .finish_non_exhaustive()
    }
}

/// One node's end of a [`LocalBus`]. The bus lives as long as a node of it or the hub does.
pub struct LocalBusNode {
    hub: LocalBus,
    index: usize,
}

#[async_trait]
impl InvalidationBus for LocalBusNode {
    async fn publish(&self, what: &Selector) -> Result<(), CacheError> {
        let mut state = self.hub.0.state.lock();
        if !state.nodes[self.index].connected {
            return Err(CacheError::new(ErrorKind::Unavailable, "the node is off the bus"));
        }
        state.published += 1;
        let event = BusEvent::Removed(what.clone());
        for (index, node) in state.nodes.iter_mut().enumerate() {
            if index != self.index {
                node.each_line(|line| line.send(&event));
            }
        }
        Ok(())
    }

    fn subscribe(&self) -> BoxStream<'static, BusEvent> {
        let hub = &self.hub.0;
        let mut state = hub.state.lock();
        let line = Line::new(hub.clock.clone(), Arc::clone(&hub.faults), state.rng.fork());
        let node = &mut state.nodes[self.index];
        node.lines.push(Arc::downgrade(&line));
        if node.connected {
            line.connect();
        }
        Box::pin(futures_util::stream::unfold(line, |line| async move {
            Some((line.next().await?, line))
        }))
    }
}

impl fmt::Debug for LocalBusNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalBusNode").field("index", &self.index).finish_non_exhaustive()
    }
}
