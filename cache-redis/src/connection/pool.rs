//! Which connection a call gets.

use std::sync::Arc;
use std::time::Duration;

use cache_core::CacheError;
use parking_lot::Mutex;
use tokio::time::{sleep, timeout};

use super::call::Lane;
use super::link::{Lease, Link, Phase};
use super::supervise::{Shared, supervise};
use super::task::Task;

/// The links, by lane, and their tasks.
pub(crate) struct Pool {
    links: Vec<Arc<Link>>,
    tasks: Mutex<Vec<Task>>,
}

impl Pool {
    /// Small links first, then one for bulk and one for scans.
    pub(crate) fn links_for(connections: usize, address: &str) -> Vec<Arc<Link>> {
        (0..connections + 2).map(|_| Arc::new(Link::new(address))).collect()
    }

    /// Starts the supervisors of the links.
    pub(crate) fn start(shared: &Arc<Shared>) -> Self {
        let links = shared.links.clone();
        let start = |link: &Arc<Link>| Task::spawn(supervise(Arc::clone(link), Arc::clone(shared)));
        let tasks = links.iter().map(start).collect();
        Self { links, tasks: Mutex::new(tasks) }
    }

    pub(crate) fn links(&self) -> &[Arc<Link>] {
        &self.links
    }

    fn lane(&self, lane: Lane) -> &[Arc<Link>] {
        let small = self.links.len() - 2;
        match lane {
            Lane::Small => &self.links[..small],
            Lane::Bulk => &self.links[small..=small],
            Lane::Scan => &self.links[small + 1..],
        }
    }

    /// A connection of `lane`: the least busy, the first of equals, so that sparse traffic stays on
    /// one and its packets are full. One that has not answered in time comes last.
    pub(crate) async fn lease(
        &self,
        lane: Lane,
        patience: Duration,
    ) -> Result<Lease<'_>, CacheError> {
        let lane = self.lane(lane);
        // A connection may go between the wait and the lease: a second look, no more.
        for _ in 0..2 {
            if let Some(lease) = least_busy(lane) {
                return Ok(lease);
            }
            let Some(link) = hopeful(lane) else { break };
            if !link.await_attempt(patience).await {
                break;
            }
        }
        least_busy(lane).ok_or_else(|| match hopeful(lane) {
            Some(link) => link.fault(),
            None => lane[0].fault(),
        })
    }

    /// Turns new calls away, lets those under way finish, ends the tasks.
    pub(crate) async fn shutdown(&self, closed: &CacheError, patience: Duration) {
        for link in &self.links {
            link.close(closed.clone());
        }
        let idle = async {
            // Rare and short: not worth a wake-up on every call's end.
            while self.links.iter().any(|link| link.in_flight().under_way() > 0) {
                sleep(Duration::from_millis(2)).await;
            }
        };
        let _ = timeout(patience, idle).await;
        let tasks = std::mem::take(&mut *self.tasks.lock());
        for task in &tasks {
            task.abort();
        }
        for task in tasks {
            task.await;
        }
    }
}

fn least_busy(lane: &[Arc<Link>]) -> Option<Lease<'_>> {
    if let [only] = lane {
        return only.lease();
    }
    let (_, link) = lane
        .iter()
        .filter_map(|link| link.load().map(|load| (load, link)))
        .min_by_key(|(load, _)| *load)?;
    link.lease()
}

/// The link that is being dialled, if any.
fn hopeful(lane: &[Arc<Link>]) -> Option<&Arc<Link>> {
    lane.iter().find(|link| matches!(link.phase(), Phase::Dialing { .. }))
}
