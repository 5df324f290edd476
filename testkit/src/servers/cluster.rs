//! A Redis Cluster on one machine.
//!
//! Redis makes a primary that starts, or that sees its cluster come together, wait for two seconds
//! before it takes writes. A replica does not wait, and one that is promoted by
//! `CLUSTER FAILOVER TAKEOVER` goes on as it is. So the nodes start with a `nodes.conf` that
//! describes the cluster with each of them as the replica of a primary that does not exist; each
//! takes over, and then the primaries that never were are forgotten.

use std::fmt::Write;
use std::time::Duration;

use super::launch::{Failure, on_free_ports, wait_until};
use super::options::{Kind, Options};
use super::port::random;
use super::replication::{is_in_step, primary_port};
use super::server::RedisServer;

/// How many hash slots there are.
const SLOTS: usize = 16_384;

/// How long a cluster may take to agree; it takes some 100 ms, or with a node that has been
/// restarted some seconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// A Redis Cluster of one's own, gone when dropped.
///
/// Starts in a quarter of a second; the nodes are [`RedisServer`]s and can be killed, paused and
/// asked one by one. Blocking, like those. A node counts as lost after a second of silence
/// (`cluster-node-timeout`). As Redis has it, a primary that is restarted takes no writes for two
/// seconds.
///
/// ```
/// use cache_testkit::RedisCluster;
///
/// let cluster = RedisCluster::start(3);
/// let node = cluster.node_for("greeting");
/// assert_eq!(node.command(&["SET", "greeting", "hello"]), "OK");
/// assert!(cluster.url().starts_with("redis-cluster://127.0.0.1:"));
/// ```
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<RedisServer>,
}

/// What a [`RedisCluster`] is started with; made by [`RedisCluster::builder`].
#[derive(Clone, Debug)]
#[must_use = "it does nothing until started"]
pub struct RedisClusterBuilder {
    primaries: usize,
    replicas: usize,
    lines: Vec<String>,
}

impl RedisCluster {
    /// Starts a cluster of so many primaries, without replicas.
    ///
    /// # Panics
    ///
    /// As [`RedisClusterBuilder::start`].
    #[must_use]
    pub fn start(primaries: usize) -> Self {
        Self::builder().primaries(primaries).start()
    }

    /// For a cluster with replicas or further configuration.
    pub fn builder() -> RedisClusterBuilder {
        let lines = vec!["cluster-node-timeout 1000".to_owned()];
        RedisClusterBuilder { primaries: 3, replicas: 0, lines }
    }

    /// Where clients find the cluster: `redis-cluster://h:p?node=h2:p2&node=h3:p3`.
    #[must_use]
    pub fn url(&self) -> String {
        let mut url = format!("redis-cluster://{}", self.nodes[0].addr());
        for (n, node) in self.nodes.iter().enumerate().skip(1) {
            let separator = if n == 1 { '?' } else { '&' };
            write!(url, "{separator}node={}", node.addr()).expect("a string takes it");
        }
        url
    }

    /// The nodes: those that were primaries at the start, then the replicas.
    #[must_use]
    pub fn nodes(&self) -> &[RedisServer] {
        &self.nodes
    }

    /// One of the [`nodes`](Self::nodes).
    ///
    /// # Panics
    ///
    /// If there are not so many.
    #[must_use]
    pub fn node(&self, number: usize) -> &RedisServer {
        &self.nodes[number]
    }

    /// The primary that is responsible for `key` now, by what the first node that runs says.
    ///
    /// # Panics
    ///
    /// If no node runs, that node is paused, or it knows of nobody who is responsible.
    #[must_use]
    pub fn node_for(&self, key: &str) -> &RedisServer {
        let asked = self.nodes.iter().find(|node| node.is_running()).expect("no node runs");
        let slot = asked.command(&["CLUSTER", "KEYSLOT", key]).integer();
        let slots = asked.command(&["CLUSTER", "SLOTS"]);
        let port = slots.list().iter().map(|range| range.list()).find_map(|range| {
            let (first, last) = (range[0].integer(), range[1].integer());
            (first..=last).contains(&slot).then(|| range[2].list()[1].integer())
        });
        let port = port.unwrap_or_else(|| panic!("nobody is responsible for {key:?}"));
        self.nodes
            .iter()
            .find(|node| i64::from(node.port()) == port)
            .expect("a node of this cluster")
    }

    /// Removes every key of every primary.
    ///
    /// # Panics
    ///
    /// If a node is stopped or paused.
    pub fn flush(&self) {
        for node in &self.nodes {
            if node.info("replication")["role"] == "master" {
                node.flush();
            }
        }
    }

    /// Waits until every node that runs calls the cluster's state `ok`, and each of its replicas has
    /// everything that was written so far: before a node is killed whose data shall live, and after
    /// nodes have been restarted or resumed.
    ///
    /// # Panics
    ///
    /// If that does not come about within 20 s. A cluster that has lost slots is not ok, unless
    /// started with `cluster-require-full-coverage no`.
    #[track_caller]
    pub fn wait_until_ok(&self) {
        wait_until("every node calls the cluster ok", PATIENCE, || {
            self.nodes.iter().filter(|node| node.is_running()).all(|node| {
                let state = node.command(&["CLUSTER", "INFO"]).text();
                state.contains("cluster_state:ok") && self.is_in_step(node)
            })
        });
    }

    /// Whether this node is a primary, or a replica with everything that its primary has.
    fn is_in_step(&self, node: &RedisServer) -> bool {
        primary_port(node).is_none_or(|port| {
            let mut nodes = self.nodes.iter();
            let primary = nodes.find(|primary| u64::from(primary.port()) == port);
            primary.is_some_and(|primary| is_in_step(primary, node))
        })
    }
}

impl RedisClusterBuilder {
    /// How many primaries share the slots; 3 if not said. At least 3 are needed for replicas to
    /// take over.
    pub fn primaries(mut self, primaries: usize) -> Self {
        self.primaries = primaries;
        self
    }

    /// How many replicas each primary has; none if not said. One takes over when its primary has
    /// been lost for a second or two.
    pub fn replicas(mut self, replicas: usize) -> Self {
        self.replicas = replicas;
        self
    }

    /// Adds a line to the configuration file of every node.
    pub fn config(mut self, line: impl Into<String>) -> Self {
        self.lines.push(line.into());
        self
    }

    /// Starts the cluster and waits until all nodes take commands.
    ///
    /// # Panics
    ///
    /// As [`RedisServerBuilder::start`](super::RedisServerBuilder::start); if there are no
    /// primaries; if the nodes do not agree within 20 s.
    #[must_use]
    pub fn start(self) -> RedisCluster {
        assert!(self.primaries > 0, "a cluster needs a primary");
        let options =
            Options { kind: Kind::Cluster, lines: self.lines.clone(), ..Options::default() };
        on_free_ports(|| self.try_start(&options))
    }

    fn try_start(&self, options: &Options) -> Result<RedisCluster, Failure> {
        let count = self.primaries * (1 + self.replicas);
        let nodes: Vec<_> = (0..count).map(|_| RedisServer::prepare(options.clone())).collect();
        let plan = Plan::new(self.primaries, &nodes);
        for (number, node) in nodes.iter().enumerate() {
            node.dir().write("nodes.conf", &plan.nodes_conf(number));
        }
        std::thread::scope(|scope| {
            let launches: Vec<_> = nodes.iter().map(|node| scope.spawn(|| node.launch())).collect();
            launches.into_iter().try_for_each(|launch| launch.join().expect("no panic"))
        })?;
        let cluster = RedisCluster { nodes };
        plan.carry_out(&cluster);
        for node in &cluster.nodes {
            node.reset_commandstats();
        }
        Ok(cluster)
    }
}

/// Who is who in a cluster that comes into being.
struct Plan {
    primaries: usize,
    /// The id, port and bus port of each node.
    nodes: Vec<(String, u16, u16)>,
    /// The ids of the primaries that do not exist.
    phantoms: Vec<String>,
}

impl Plan {
    fn new(primaries: usize, nodes: &[RedisServer]) -> Self {
        let nodes = nodes.iter().map(|node| (new_id(), node.port(), node.bus_port())).collect();
        let phantoms = (0..primaries).map(|_| new_id()).collect();
        Self { primaries, nodes, phantoms }
    }

    /// What the node of this number knows when it starts.
    fn nodes_conf(&self, number: usize) -> String {
        let mut text = String::new();
        for (n, (id, port, bus)) in self.nodes.iter().enumerate() {
            let myself = if n == number { "myself," } else { "" };
            let primary = match n.checked_sub(self.primaries) {
                None => &self.phantoms[n],
                Some(replica) => &self.nodes[replica % self.primaries].0,
            };
            writeln!(text, "{id} 127.0.0.1:{port}@{bus} {myself}slave {primary} 0 0 0 connected")
                .expect("a string takes it");
        }
        for (n, id) in self.phantoms.iter().enumerate() {
            let (epoch, slots) = (n + 1, self.slots(n));
            writeln!(text, "{id} :0@0 master,noaddr - 0 0 {epoch} disconnected {slots}")
                .expect("a string takes it");
        }
        writeln!(text, "vars currentEpoch {} lastVoteEpoch 0", self.primaries)
            .expect("a string takes it");
        text
    }

    /// The slots of the primary of this number.
    fn slots(&self, primary: usize) -> String {
        let first = primary * SLOTS / self.primaries;
        let last = (primary + 1) * SLOTS / self.primaries - 1;
        format!("{first}-{last}")
    }

    /// Promotes the primaries, and waits until everybody knows of it.
    fn carry_out(&self, cluster: &RedisCluster) {
        // One after the other: two that take over at once may take the same epoch, and then the
        // others refuse their replicas later.
        for (number, node) in cluster.nodes[..self.primaries].iter().enumerate() {
            node.command(&["CLUSTER", "FAILOVER", "TAKEOVER"]);
            wait_until("every node knows the new primary", PATIENCE, || {
                let mut nodes = cluster.nodes.iter();
                nodes.all(|node| self.is_known(number, &node.command(&["CLUSTER", "NODES"]).text()))
            });
        }
        for node in &cluster.nodes {
            for phantom in &self.phantoms {
                node.command(&["CLUSTER", "FORGET", phantom]);
            }
        }
        cluster.wait_until_ok();
    }

    /// Whether a node that answers this to `CLUSTER NODES` knows who has the slots of this primary.
    fn is_known(&self, primary: usize, nodes: &str) -> bool {
        let (id, slots) = (&self.nodes[primary].0, self.slots(primary));
        nodes.lines().any(|line| {
            line.starts_with(id.as_str())
                && line.contains("master")
                && line.contains(" connected ")
                && line.ends_with(&slots)
        })
    }
}

/// A node id: 40 hexadecimal digits.
fn new_id() -> String {
    format!("{:016x}{:016x}{:08x}", random(), random(), random() & 0xffff_ffff)
}
