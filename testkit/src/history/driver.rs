//! Random calls on several nodes, in an order that the seed decides.
//!
//! The driver is the scheduler. Calls are futures which it polls itself, with a waker that does
//! nothing, so that the order in which the cache wakes its waiters decides nothing; loaders stop
//! until it lets them go on; time stands still until it moves it. What is left to tokio are the
//! tasks that the cache spawns, which a runtime of one thread runs in the order in which they
//! were woken.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use cache_core::{CacheService, Policy, Selector};
use fastrand::Rng;

use super::client::Client;
use super::database::{ABSENT, Database};
use super::loaders::{Loaders, Plan};
use super::options::Options;
use super::record::History;
use crate::poll_once;

/// How often the runtime's other tasks have their turn after a step, at most.
const TURNS: usize = 4;

/// How much time goes by at once while calls end.
const REST: Duration = Duration::from_millis(10);
/// How often, before the last reads.
const RESTS: usize = 100;

/// One node of the fleet.
#[derive(Clone, Debug)]
pub struct Node {
    cache: Arc<dyn CacheService>,
}

impl Node {
    /// A node with this cache.
    #[must_use]
    pub fn new(cache: Arc<dyn CacheService>) -> Self {
        Self { cache }
    }
}

/// Drives the nodes at random and returns what happened. Nodes are numbered from 0, in order; one
/// that takes another's place has the next number.
///
/// The same seed, nodes and options give the same history on a runtime of one thread, as long as
/// the clock is given and nothing else is random or waits for the world outside. (Hash seeds are
/// random in most caches: where hash collisions matter, a seed may have to be run a few times.)
///
/// # Panics
///
/// If a call does not end within 10 s of the end of the faults, naming the seed and the call; if a node
/// with a [recorded bus](super::Recorder::bus) does not listen to it then, or has not dealt within that time
/// with what it was told; if there are no nodes, keys or clients.
pub async fn run(seed: u64, nodes: Vec<Node>, options: Options) -> History {
    let mut driver = Driver::new(seed, &nodes, options);
    let mut step = 0;
    while driver.left > 0 {
        (driver.options.between)(step, &mut driver.rng);
        driver.restart();
        driver.step().await;
        step += 1;
    }
    (driver.options.at_end)();
    driver.finish().await;
    driver.rest_long().await;
    driver.listen().await;
    driver.read_all().await;
    driver.options.recorder.history()
}

type Call = Pin<Box<dyn Future<Output = ()> + Send>>;

struct Driver {
    seed: u64,
    rng: Rng,
    options: Options,
    database: Database,
    loaders: Loaders,
    /// How many nodes there have been.
    started: usize,
    /// Client by client, each on all nodes in order.
    clients: Vec<Seat>,
    /// The number of nodes at a time.
    nodes: usize,
    /// Calls that are yet to begin.
    left: usize,
}

/// Where one call at a time is under way.
struct Seat {
    node: usize,
    client: Client,
    call: Option<(String, Call)>,
}

impl Driver {
    fn new(seed: u64, nodes: &[Node], options: Options) -> Self {
        let database = Database::new();
        let loaders = Loaders::new(&options.recorder, &database);
        let seats = (0..options.clients).flat_map(|_| nodes.iter().enumerate());
        let clients = seats.map(|(node, Node { cache })| Seat {
            node,
            client: Client::new(&options.recorder, node, Arc::clone(cache)),
            call: None,
        });
        let clients: Vec<_> = clients.collect();
        assert!(!clients.is_empty() && !options.keys.is_empty(), "nothing to drive: {options:?}");
        let (left, nodes) = (options.operations, nodes.len());
        let (rng, started) = (Rng::with_seed(seed), nodes);
        Self { seed, rng, options, database, loaders, started, clients, nodes, left }
    }

    /// Now and then puts a new node in the place of another, whose calls are dropped.
    fn restart(&mut self) {
        let Some((chance, replace)) = &mut self.options.restarts else { return };
        if self.rng.f64() >= *chance {
            return;
        }
        let at = self.rng.usize(..self.nodes);
        let (old, new) = (self.clients[at].node, self.started);
        let Node { cache } = replace(old, new, &mut self.rng);
        self.started += 1;
        for seat in self.clients.iter_mut().filter(|seat| seat.node == old) {
            let client = Client::new(&self.options.recorder, new, Arc::clone(&cache));
            *seat = Seat { node: new, client, call: None };
        }
    }

    async fn step(&mut self) {
        let at = self.rng.usize(..self.clients.len());
        match self.rng.u8(..10) {
            0..=5 => self.poll(at),
            6 | 7 => drop(self.loaders.release_one(&mut self.rng)),
            8 => self.pass_time(),
            _ => {}
        }
        for _ in 0..self.rng.usize(..TURNS) {
            tokio::task::yield_now().await;
        }
    }

    /// Begins a call at an idle seat, else polls or drops the one under way.
    fn poll(&mut self, at: usize) {
        if self.clients[at].call.is_none() {
            let call = self.call(at);
            self.clients[at].call = Some(call);
            self.left -= 1;
        } else if self.rng.f64() < self.options.drops {
            self.clients[at].call = None;
            return;
        }
        self.poll_call(at);
    }

    fn poll_call(&mut self, at: usize) {
        let seat = &mut self.clients[at];
        if seat.call.as_mut().is_some_and(|(_, call)| poll_once(call).is_ready()) {
            seat.call = None;
        }
    }

    /// A moment mostly, now and then as long as values live.
    fn pass_time(&mut self) {
        if let Some(clock) = &self.options.clock {
            let most = if self.rng.u8(..8) == 0 { 2_000 } else { 100 };
            clock.advance(Duration::from_millis(self.rng.u64(1..=most)));
        }
    }

    /// What the client at a seat does next.
    fn call(&mut self, at: usize) -> (String, Call) {
        let rng = &mut self.rng;
        let key = rng.choice(&self.options.keys).cloned().unwrap_or_default();
        let policy = rng.choice(&self.options.policies).cloned().unwrap_or_default();
        let fails = rng.f64() < self.options.load_failures;
        let plan = Plan { stops_before: rng.bool(), stops_after: rng.bool(), fails };
        let pause = rng.usize(..4);
        let Seat { node, client, .. } = &self.clients[at];
        let (node, client) = (*node, client.clone());
        match rng.u8(..if self.options.batches { 23 } else { 20 }) {
            0 | 1 => (format!("get {key}"), call(async move { client.get(&key).await.map(drop) })),
            2..=4 => {
                let name = format!("get_arc {key}");
                (name, call(async move { client.get_arc(&key).await.map(drop) }))
            }
            5..=7 if self.options.absences => {
                let name = format!("get_or_load_opt {key}");
                let load = self.loaders.clone().load_opt(node, key.clone(), plan);
                let get =
                    async move { client.get_or_load_opt(&key, policy, || load).await.map(drop) };
                (name, call(get))
            }
            5..=10 => {
                let name = format!("get_or_load {key}");
                let load = self.loaders.clone().load(node, key.clone(), plan);
                (
                    name,
                    call(async move { client.get_or_load(&key, policy, || load).await.map(drop) }),
                )
            }
            11 => {
                let keys = some_of(&self.options.keys, rng);
                let load = self.load_many(node, keys.clone(), client, policy, plan);
                (format!("get_or_load_many {keys:?}"), load)
            }
            12..=14 => {
                let (name, value) = (format!("set {key}"), self.database.write(&key));
                let set = async move {
                    turns(pause).await;
                    client.set(&key, value, policy).await
                };
                (name, call(set))
            }
            20 => {
                let keys = some_of(&self.options.keys, rng);
                let name = format!("get_many {keys:?}");
                let get = async move {
                    let keys: Vec<_> = keys.iter().map(String::as_str).collect();
                    client.get_many(&keys).await.map(drop)
                };
                (name, call(get))
            }
            21 => {
                let keys = some_of(&self.options.keys, rng);
                let name = format!("set_many {keys:?}");
                let values: Vec<_> = keys.iter().map(|key| self.database.write(key)).collect();
                let set = async move {
                    turns(pause).await;
                    let items: Vec<_> = keys.iter().map(String::as_str).zip(values).collect();
                    client.set_many(&items, policy).await
                };
                (name, call(set))
            }
            kind => {
                let prefix = key.split_inclusive(':').next().unwrap_or_default().to_owned();
                let what = match kind {
                    15..=17 => Selector::key(key),
                    18 => Selector::Prefix(prefix),
                    19 => Selector::All,
                    _ => Selector::Keys(some_of(&self.options.keys, rng)),
                };
                for key in self.options.keys.iter().filter(|key| what.matches(key)) {
                    match rng.u8(..8) {
                        // Now and then nothing has changed.
                        0 => {}
                        1 if self.options.absences => self.database.delete(key),
                        _ => {
                            self.database.write(key);
                        }
                    }
                }
                let name = format!("remove {what:?}");
                let remove = async move {
                    turns(pause).await;
                    client.remove(&what).await
                };
                (name, call(remove))
            }
        }
    }

    fn load_many(
        &self,
        node: usize,
        keys: Vec<String>,
        client: Client,
        policy: Policy,
        plan: Plan,
    ) -> Call {
        let loaders = self.loaders.clone();
        call(async move {
            let keys: Vec<_> = keys.iter().map(String::as_str).collect();
            let load = move |missing| loaders.load_many(node, missing, plan);
            client.load_many(&keys, policy, load, Some(ABSENT)).await.map(drop)
        })
    }

    /// Lets every call end.
    async fn finish(&mut self) {
        let start = Instant::now();
        while self.clients.iter().any(|seat| seat.call.is_some()) {
            while self.loaders.release_one(&mut self.rng) {}
            (0..self.clients.len()).for_each(|at| self.poll_call(at));
            self.rest().await;
            assert!(start.elapsed() < self.options.patience, "{self:?}");
        }
    }

    /// Lets some time go by, on a manual clock: what the bus still had to say has been said then.
    async fn rest_long(&mut self) {
        for _ in 0..RESTS {
            self.rest().await;
        }
    }

    /// Waits until every node has heard what it was told. One that does not listen could not be held to
    /// what it has not heard.
    async fn listen(&mut self) {
        let start = Instant::now();
        for at in 0..self.nodes {
            let node = self.clients[at].node;
            while let Some(fault) = self.options.recorder.deafness(node) {
                let patient = start.elapsed() < self.options.patience;
                assert!(patient, "seed {}: node {node} {fault}", self.seed);
                self.rest().await;
            }
        }
    }

    /// Reads every key on every node.
    async fn read_all(&mut self) {
        // The first seats are those of the first client of each node.
        for seat in &self.clients[..self.nodes] {
            for key in &self.options.keys {
                // A cache that fails says nothing.
                let _ = seat.client.get(key).await;
            }
        }
    }

    async fn rest(&mut self) {
        if let Some(clock) = &self.options.clock {
            clock.advance(REST);
        }
        tokio::task::yield_now().await;
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {}: calls that do not end:", self.seed)?;
        for seat in &self.clients {
            if let Some((name, _)) = &seat.call {
                write!(f, " node {}: {name};", seat.node)?;
            }
        }
        Ok(())
    }
}

/// Some of the keys, in any order.
fn some_of(keys: &[String], rng: &mut Rng) -> Vec<String> {
    let mut some = keys.to_vec();
    rng.shuffle(&mut some);
    some.truncate(rng.usize(1..=some.len()));
    some
}

/// A call whose result is what was recorded.
fn call<E>(future: impl Future<Output = Result<(), E>> + Send + 'static) -> Call {
    Box::pin(async move { drop(future.await) })
}

/// Is ready when it has been polled `left` times before.
async fn turns(mut left: usize) {
    poll_fn(|_| match left.checked_sub(1) {
        Some(fewer) => {
            left = fewer;
            Poll::Pending
        }
        None => Poll::Ready(()),
    })
    .await;
}
