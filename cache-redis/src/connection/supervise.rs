//! The task behind each link: connect, watch, replace.
//!
//! Rules:
//!
//! 1. Any failure to connect, refused credentials included, is followed by another attempt.
//! 2. A connection is published after it has answered; it is withdrawn before the next attempt.
//! 3. The task owns what moves the connection's bytes, so ending the task ends the connection.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cache_core::{CacheError, ErrorKind};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use tokio::runtime;
use tokio::time::{Instant, sleep, timeout};

use super::asking::Asking;
use super::backoff::Backoff;
use super::dial::{Dialer, Opened};
use super::found::{ANOTHER, Found};
use super::handle::Handle;
use super::health::{ConnectionState, Health};
use super::heartbeat::{Lost, Role, beat};
use super::link::{Link, SETTLED};
use super::server_clock::ServerClock;
use super::{cluster, sentinel};
use crate::config::{Endpoint, RedisConfig, Topology};
use crate::error::unavailable;

/// What all links have in common.
pub(crate) struct Shared {
    pub(crate) config: RedisConfig,
    pub(crate) dialer: Dialer,
    pub(crate) cluster: Option<ClusterClient>,
    pub(crate) health: Health,
    pub(crate) clock: ServerClock,
    pub(crate) links: Vec<Arc<Link>>,
    pub(crate) primary: Found,
    /// On which the links' tasks run.
    pub(crate) runtime: runtime::Handle,
}

enum Open {
    Node { opened: Opened, role: Role, endpoint: Endpoint },
    Cluster(ClusterConnection),
}

/// Keeps `link` connected until the task is aborted.
pub(crate) async fn supervise(link: Arc<Link>, shared: Arc<Shared>) {
    let health = &shared.health;
    let mut backoff = Backoff::new();
    let mut fresh = true;
    let mut before = false;
    loop {
        let turn = health.turn().await;
        link.set_dialing(fresh || turn.is_none());
        match shared.dial(&link).await {
            Err(fault) => {
                fresh = false;
                health.failed(&fault);
                link.set_down(down(health, fault));
                // With the turn in hand: the others wait for this link's success.
                pause(health, backoff.next(), turn.is_some()).await;
            }
            Ok(open) => {
                let born = Instant::now();
                if std::mem::replace(&mut before, true) {
                    health.reconnects.fetch_add(1, Ordering::Relaxed);
                }
                let lost = shared.serve(&link, open, turn).await;
                if let Lost::Silent(_) = lost {
                    health.silent_peers.fetch_add(1, Ordering::Relaxed);
                }
                health.lost(&lost.into_error().to_string());
                fresh = true;
                if born.elapsed() > Duration::from_secs(1) {
                    backoff.reset();
                } else {
                    // Accepted and hung up: not a reason to hurry.
                    sleep(backoff.next()).await;
                }
            }
        }
        health.say(false);
    }
}

/// The error of every call while down: made once, cloned for each.
fn down(health: &Health, fault: CacheError) -> CacheError {
    unavailable(health.address(), "Redis is down").with_source(fault)
}

/// Waits between attempts; not longer than until another link succeeds.
async fn pause(health: &Health, wait: Duration, leads: bool) {
    if leads || health.state() != ConnectionState::Down {
        sleep(wait).await;
    }
}

impl Shared {
    /// The server at `address` is a primary no more: nobody reads there what was. Connections that
    /// were opened within `least` lead where the next one would.
    pub(crate) fn demoted(&self, address: &str, least: Duration) {
        self.links.iter().for_each(|link| link.leave(least, |led| led == address));
    }

    /// The server at `address` is the primary, and whatever leads elsewhere leads to a former one.
    pub(crate) fn promoted(&self, address: &str) {
        self.primary.set(address);
        self.links.iter().for_each(|link| link.leave(Duration::ZERO, |led| led != address));
    }

    /// The server at `address` is what sentinels name as the primary to this link: what leads elsewhere leads
    /// to a former one, which may not have been told so yet.
    fn named(&self, address: &str) {
        if let Topology::Sentinel { .. } = self.config.topology {
            let least = self.primary.set(address);
            self.links.iter().for_each(|link| link.leave(least, |led| led != address));
        }
    }

    fn cluster_handle(&self, connection: &ClusterConnection) -> Handle {
        let asking =
            Asking { dialer: self.dialer.clone(), credentials: self.config.credentials.clone() };
        Handle::Cluster(connection.clone(), Arc::new(asking))
    }

    /// One attempt, within its time.
    async fn dial(&self, link: &Link) -> Result<Open, CacheError> {
        let patience = self.config.connect_timeout();
        timeout(patience, self.open(link)).await.unwrap_or_else(|_| {
            let what = format!("no connection within {patience:?}");
            Err(unavailable(self.health.address(), &what))
        })
    }

    async fn open(&self, link: &Link) -> Result<Open, CacheError> {
        let config = &self.config;
        match &config.topology {
            Topology::Server(endpoint) => self.node(link, endpoint, Role::Same).await,
            Topology::Sentinel { service, sentinels, credentials } => {
                let patience = config.connect_timeout();
                let mut search =
                    sentinel::search(&self.dialer, sentinels, credentials, service, patience);
                while let Some(endpoint) = search.next().await {
                    let node = self.node(link, &endpoint, Role::Primary);
                    if let Some(open) = search.attempt(&endpoint, node).await {
                        return Ok(open);
                    }
                }
                Err(search.fault)
            }
            Topology::Cluster(_) => {
                let Some(client) = &self.cluster else {
                    return Err(CacheError::new(ErrorKind::Config, "no cluster client"));
                };
                let address = self.health.address();
                let connection = cluster::open(client, address).await?;
                let patience = config.heartbeat_timeout;
                cluster::beat(&connection, &self.clock, patience, address).await?;
                Ok(Open::Cluster(connection))
            }
        }
    }

    async fn node(&self, link: &Link, endpoint: &Endpoint, role: Role) -> Result<Open, CacheError> {
        let (config, load) = (&self.config, link.in_flight());
        let mut opened = self.dialer.open(endpoint, &config.credentials, config.db, load).await?;
        let Opened { connection, progress, .. } = &mut opened;
        let patience = config.connect_timeout();
        let address = endpoint.to_string();
        let role = beat(connection, progress, role, &self.clock, patience, &address)
            .await
            .map_err(Lost::into_error)?;
        Ok(Open::Node { opened, role, endpoint: endpoint.clone() })
    }

    /// Publishes the connection and watches it until it has to be replaced. `turn` goes to the next
    /// in line as soon as it is published.
    async fn serve<T>(&self, link: &Link, open: Open, turn: T) -> Lost {
        match open {
            Open::Node { opened, role, endpoint } => {
                self.health.opened();
                let handle = Handle::Node(opened.connection.clone());
                // First: what is done over this one comes after what is done over the others.
                self.named(&endpoint.to_string());
                let generation = link.publish(handle, &endpoint.to_string());
                drop(turn);
                let lost = self.watch_node(link, opened, role, &endpoint, generation).await;
                link.withdraw(generation);
                if let Lost::Demoted(_) = lost {
                    // An address that was named by itself may lead elsewhere by now.
                    let named = matches!(self.config.topology, Topology::Server(_));
                    let least = if named { SETTLED } else { Duration::ZERO };
                    self.demoted(&endpoint.to_string(), least);
                }
                lost
            }
            Open::Cluster(connection) => {
                self.health.opened();
                let address = self.health.address();
                let mut generation = link.publish(self.cluster_handle(&connection), address);
                drop(turn);
                let lost = self.watch_cluster(link, connection, &mut generation).await;
                link.withdraw(generation);
                lost
            }
        }
    }

    async fn watch_node(
        &self,
        link: &Link,
        opened: Opened,
        mut role: Role,
        endpoint: &Endpoint,
        generation: u64,
    ) -> Lost {
        let Opened { mut connection, progress, mut driver } = opened;
        let (address, born) = (endpoint.to_string(), Instant::now());
        let mut elsewhere = pin!(self.primary.elsewhere(&address, born));
        loop {
            tokio::select! {
                () = &mut elsewhere => {
                    return Lost::Broken(unavailable(&address, ANOTHER));
                }
                () = &mut driver => {
                    return Lost::Broken(unavailable(&address, "the server hung up"));
                }
                () = link.condemned(generation) => {
                    return Lost::Broken(unavailable(&address, "it turned a call away"));
                }
                () = link.suspected() => {}
                () = sleep(self.config.heartbeat_interval) => {}
            }
            self.health.say(false);
            let patience = self.config.heartbeat_timeout;
            let given_up = link.in_flight().given_up();
            let beat = beat(&mut connection, &progress, role, &self.clock, patience, &address);
            role = match beat.await {
                Ok(role) => role,
                Err(lost) => return lost,
            };
            // Whatever came before its answer has come.
            link.in_flight().over(given_up);
        }
    }

    /// As [`watch_node`](Self::watch_node). A cluster of which a part is silent twice running is
    /// dialled anew and used meanwhile, less and less often while that does not help.
    async fn watch_cluster(
        &self,
        link: &Link,
        mut connection: ClusterConnection,
        generation: &mut u64,
    ) -> Lost {
        let (mut silences, mut tolerated) = (0, 2);
        loop {
            tokio::select! {
                () = link.suspected() => {}
                () = sleep(self.config.heartbeat_interval) => {}
            }
            self.health.say(false);
            let patience = self.config.heartbeat_timeout;
            let address = self.health.address();
            let given_up = link.in_flight().given_up();
            match cluster::beat(&connection, &self.clock, patience, address).await {
                Err(error) => return Lost::Silent(error),
                Ok(0) => (silences, tolerated) = (0, 2),
                Ok(_) => silences += 1,
            }
            link.in_flight().over(given_up);
            if silences >= tolerated
                && let Ok(Open::Cluster(next)) = self.dial(link).await
            {
                *generation = link.publish(self.cluster_handle(&next), address);
                connection = next;
                self.health.reconnects.fetch_add(1, Ordering::Relaxed);
                (silences, tolerated) = (0, (tolerated * 2).min(32));
            }
        }
    }
}
