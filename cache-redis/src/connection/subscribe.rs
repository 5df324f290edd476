//! One subscription at a time: a connection of its own on which the server speaks unasked.
//!
//! Rules:
//!
//! 1. A subscription counts from the server's confirmation, which the receiver of pushes sees in
//!    its place among the messages.
//! 2. It is lost when no answer has come within the heartbeat's timeout, whatever else has: a
//!    server whose answers are late tells of removals late, too.
//! 3. Heartbeats are an interval apart, counted from when they are sent. So a server that was alive
//!    at some moment and then falls silent is given up within interval and timeout of it.
//! 4. When a subscription counts again, no connection leads to a former primary any more.
//! 5. A node that is alive and not where others publish is lost, too: a demoted primary, a cluster
//!    node without its cluster, a server that is loading its data. A server that was named by itself
//!    and is a replica from the start is where others publish, unless its listener says that only a
//!    primary will do.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use cache_core::{CacheError, Clock, ErrorKind, Timestamp};
use parking_lot::Mutex;
use redis::aio::AsyncPushSender;
use redis::{Pipeline, Value, cmd};
use tokio::time::{Instant, sleep_until, timeout};

use super::dial::Opened;
use super::found::ANOTHER;
use super::heartbeat::Role;
use super::supervise::Shared;
use super::{cluster, sentinel};
use crate::config::{Endpoint, Topology};
use crate::error::{classify, unavailable};

/// Where subscriptions come from.
#[derive(Clone)]
pub(crate) struct Feed {
    shared: Arc<Shared>,
    /// What a server has to be that was named by itself.
    named: Role,
    /// Nodes of the cluster that were not in the URL.
    learned: Arc<Mutex<Vec<Endpoint>>>,
}

/// What a server has to say to go on being trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proof {
    Role(Role),
    InCluster,
}

/// A subscription that the server has confirmed. Dropping it ends the connection.
pub(crate) struct Subscribed {
    opened: Opened,
    proof: Proof,
    address: String,
    /// When the last question that was answered was sent.
    asked: Asked,
}

/// One moment, for timers and for others.
#[derive(Clone, Copy)]
struct Asked {
    at: Instant,
    by_the_clock: Timestamp,
}

impl Asked {
    fn now() -> Self {
        // In this order: what the clock says is not after the moment.
        let by_the_clock = Clock::system().now();
        Self { at: Instant::now(), by_the_clock }
    }
}

impl Feed {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, named: Role::Same, learned: Arc::default() }
    }

    /// A server that was named by itself is listened to only while it is a primary.
    pub(crate) fn on_a_primary(mut self) -> Self {
        self.named = Role::Primary;
        self
    }

    pub(crate) fn address(&self) -> &str {
        self.shared.health.address()
    }

    /// Ends when the connections are shut down.
    pub(crate) async fn until_closed(&self) {
        self.shared.health.until_closed().await;
    }

    /// One attempt, within the connect timeout. What `pushes` makes gets the confirmation and the
    /// messages; it is asked anew for each node that is tried.
    ///
    /// # Errors
    ///
    /// As the dialer's; [`Config`](ErrorKind::Config) where the user may not subscribe.
    pub(crate) async fn subscribe<P: AsyncPushSender>(
        &self,
        channel: &str,
        pushes: impl Fn() -> P,
    ) -> Result<Subscribed, CacheError> {
        let patience = self.shared.config.connect_timeout();
        timeout(patience, self.attempt(channel, pushes)).await.unwrap_or_else(|_| {
            let what = format!("no subscription within {patience:?}");
            Err(unavailable(self.address(), &what))
        })
    }

    async fn attempt<P: AsyncPushSender>(
        &self,
        channel: &str,
        pushes: impl Fn() -> P,
    ) -> Result<Subscribed, CacheError> {
        let shared = &self.shared;
        let patience = shared.config.connect_timeout();
        let endpoints = match &shared.config.topology {
            Topology::Server(endpoint) => {
                return self.at(endpoint, Proof::Role(self.named), channel, pushes()).await;
            }
            Topology::Sentinel { service, sentinels, credentials } => {
                let dialer = &shared.dialer;
                let mut search =
                    sentinel::search(dialer, sentinels, credentials, service, patience);
                while let Some(endpoint) = search.next().await {
                    let attempt = self.at(&endpoint, Proof::Role(Role::Primary), channel, pushes());
                    if let Some(subscribed) = search.attempt(&endpoint, attempt).await {
                        return Ok(subscribed);
                    }
                }
                return Err(search.fault);
            }
            Topology::Cluster(nodes) => self.candidates(nodes),
        };
        // A node that hangs must leave time for the next one.
        let share = patience / u32::try_from(endpoints.len()).unwrap_or(1).clamp(1, 4);
        let mut fault = unavailable(self.address(), "no node is known");
        for endpoint in endpoints {
            let attempt = self.at(&endpoint, Proof::InCluster, channel, pushes());
            match timeout(share, attempt).await {
                Ok(Ok(subscribed)) => return Ok(subscribed),
                Ok(Err(error)) => fault = error,
                Err(_) => fault = unavailable(&endpoint.to_string(), "it does not answer"),
            }
        }
        Err(fault)
    }

    /// The nodes to try, in an order of one's own: not every process is to lean on the first.
    fn candidates(&self, nodes: &[Endpoint]) -> Vec<Endpoint> {
        let mut all = nodes.to_vec();
        let learned = self.learned.lock();
        all.extend(learned.iter().filter(|node| !nodes.contains(node)).cloned());
        drop(learned);
        fastrand::shuffle(&mut all);
        all
    }

    async fn at(
        &self,
        endpoint: &Endpoint,
        proof: Proof,
        channel: &str,
        pushes: impl AsyncPushSender,
    ) -> Result<Subscribed, CacheError> {
        let config = &self.shared.config;
        let opened =
            self.shared.dialer.open_for_pushes(endpoint, &config.credentials, pushes).await?;
        let address = endpoint.to_string();
        let mut subscribed = Subscribed { opened, proof, address, asked: Asked::now() };
        subscribed.prove(config.connect_timeout()).await?;
        match proof {
            // Before the subscription counts, and with it what is read.
            Proof::Role(Role::Primary) => self.shared.promoted(&subscribed.address),
            Proof::Role(_) => {}
            Proof::InCluster => self.learn(&mut subscribed, endpoint).await,
        }
        let confirmed = subscribed.opened.connection.subscribe(channel).await;
        confirmed.map_err(|error| {
            let (refused, _) = classify(&error, &subscribed.address);
            match error.code() {
                Some("NOPERM") => {
                    let message =
                        format!("{}: the user may not subscribe to {channel}", subscribed.address);
                    CacheError::new(ErrorKind::Config, message).with_source(refused)
                }
                _ => refused,
            }
        })?;
        Ok(subscribed)
    }

    /// Remembers the other nodes, for when those of the URL are gone.
    async fn learn(&self, subscribed: &mut Subscribed, asked: &Endpoint) {
        let Endpoint::Tcp { host, .. } = asked else { return };
        let mut question = cmd("CLUSTER");
        question.arg("SLOTS");
        let answer = subscribed.opened.connection.send_packed_command(&question).await;
        let Ok(shards) = answer.map_err(|_| ()).and_then(|reply| {
            cluster::parse(&reply, &subscribed.address, Some(host)).map_err(|_| ())
        }) else {
            return;
        };
        let node = |shard: cluster::Shard| Endpoint::Tcp { host: shard.host, port: shard.port };
        *self.learned.lock() = shards.into_iter().map(node).collect();
    }

    /// Asks again and again, and tells `answered` of each answer when its question was sent.
    /// Gives why the subscription is lost.
    pub(crate) async fn watch(
        &self,
        subscribed: &mut Subscribed,
        answered: impl Fn(Timestamp),
    ) -> CacheError {
        let config = &self.shared.config;
        let address = subscribed.address.clone();
        let mut elsewhere = pin!(self.shared.primary.elsewhere(&address, Instant::now()));
        loop {
            answered(subscribed.asked.by_the_clock);
            let next = subscribed.asked.at + config.heartbeat_interval;
            tokio::select! {
                () = &mut subscribed.opened.driver => {
                    return unavailable(&subscribed.address, "the server hung up");
                }
                // Others publish there.
                () = &mut elsewhere, if subscribed.proof == Proof::Role(Role::Primary) => {
                    return unavailable(&address, ANOTHER);
                }
                () = sleep_until(next) => {}
            }
            if let Err(lost) = subscribed.prove(config.heartbeat_timeout).await {
                return lost;
            }
        }
    }
}

impl Subscribed {
    /// One heartbeat.
    async fn prove(&mut self, patience: Duration) -> Result<(), CacheError> {
        let mut questions = Pipeline::new();
        questions.cmd("PING");
        match self.proof {
            Proof::Role(Role::Any) => {}
            Proof::Role(_) => drop(questions.cmd("ROLE")),
            Proof::InCluster => drop(questions.cmd("CLUSTER").arg("INFO")),
        }
        let asked = Asked::now();
        let count = questions.len();
        let answer = self.opened.connection.send_packed_commands(&questions, 0, count);
        let replies = timeout(patience, answer)
            .await
            .map_err(|_| unavailable(&self.address, "it does not answer"))?
            .map_err(|error| classify(&error, &self.address).0)?;
        let wrong = |what| Err(unavailable(&self.address, what));
        // It is there, and a replica that loads does not hear what is published.
        if let Some(Value::ServerError(error)) = replies.first()
            && matches!(error.code(), "LOADING" | "MASTERDOWN")
        {
            return wrong("it is loading its data or waits for its primary");
        }
        match (&mut self.proof, replies.get(1)) {
            (Proof::Role(role), Some(answer)) => match role.after(answer) {
                Some(next) => *role = next,
                None => return wrong("it is not the primary"),
            },
            (Proof::InCluster, Some(info)) if is_in_cluster(info) == Some(false) => {
                return wrong("it has lost its cluster");
            }
            // A user who may not ask is not told.
            _ => {}
        }
        self.asked = asked;
        Ok(())
    }
}

/// What `CLUSTER INFO` says of the state, if it says anything.
fn is_in_cluster(reply: &Value) -> Option<bool> {
    let text = match reply {
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::VerbatimString { text, .. } | Value::SimpleString(text) => text.clone(),
        _ => return None,
    };
    let state = text.lines().find_map(|line| line.strip_prefix("cluster_state:"))?;
    Some(state.trim() == "ok")
}

impl fmt::Debug for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed").field("address", &self.address()).finish_non_exhaustive()
    }
}
