//! One place in the pool: the connection that is there now, and what calls may expect of it.
//!
//! Rules:
//!
//! 1. Only the link's supervisor publishes connections. Whoever finds one broken withdraws it by its
//!    generation, so that nobody withdraws the successor.
//! 2. Closed is for ever.
//! 3. A call waits for a connection only while the first attempt after a loss is under way, or as
//!    the one call that waits for an attempt's outcome. All others fail at once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cache_core::CacheError;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::gather::Load;
use super::handle::Handle;
use crate::error::unavailable;

/// A connection that has been there for so long may lead elsewhere than the next one would.
pub(crate) const SETTLED: Duration = Duration::from_secs(1);

/// What the supervisor is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Attempt `number` is under way. `fresh`: nothing has failed since the last good connection.
    Dialing { number: u64, since: Instant, fresh: bool },
    /// A connection is published.
    Live { generation: u64 },
    /// The last attempt failed; the next one will come.
    Down,
    /// No more attempts.
    Closed,
}

#[derive(Debug)]
pub(crate) struct Link {
    live: RwLock<Option<Live>>,
    in_flight: Load,
    phase: watch::Sender<Phase>,
    attempts: AtomicU64,
    /// The latest attempt that a call has been admitted to wait for.
    awaited: AtomicU64,
    fault: Mutex<CacheError>,
    suspected: Notify,
    condemned: AtomicU64,
    doom: Notify,
}

#[derive(Debug)]
struct Live {
    generation: u64,
    since: Instant,
    /// The server it leads to.
    address: String,
    handle: Handle,
}

impl Link {
    pub(crate) fn new(address: &str) -> Self {
        Self {
            live: RwLock::new(None),
            in_flight: Load::default(),
            phase: watch::Sender::new(Phase::Dialing {
                number: 0,
                since: Instant::now(),
                fresh: true,
            }),
            attempts: AtomicU64::new(0),
            awaited: AtomicU64::new(0),
            fault: Mutex::new(unavailable(address, "not connected yet")),
            suspected: Notify::new(),
            condemned: AtomicU64::new(0),
            doom: Notify::new(),
        }
    }

    /// Takes the connection for a call, if there is one.
    pub(crate) fn lease(&self) -> Option<Lease<'_>> {
        let live = self.live.read();
        let Live { generation, since, handle, .. } = live.as_ref()?;
        self.in_flight.add();
        let guard = InFlight { link: self, generation: *generation, since: *since };
        Some(Lease { handle: handle.clone(), guard })
    }

    /// How much it carries, if it can carry anything.
    pub(crate) fn load(&self) -> Option<usize> {
        self.live.read().is_some().then(|| self.in_flight.weight())
    }

    pub(crate) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Why there is no connection.
    pub(crate) fn fault(&self) -> CacheError {
        self.fault.lock().clone()
    }

    /// Waits for the attempt under way, if this call may (rule 3): true once it is over.
    pub(crate) async fn await_attempt(&self, patience: Duration) -> bool {
        let mut phases = self.phase.subscribe();
        let Phase::Dialing { number, since, fresh } = *phases.borrow_and_update() else {
            return false;
        };
        let over = phases
            .wait_for(|phase| !matches!(phase, Phase::Dialing { number: n, .. } if *n == number));
        if fresh && since.elapsed() < patience {
            return tokio::time::timeout_at(since + patience, over).await.is_ok();
        }
        let one_of_many = self.awaited.fetch_max(number, Ordering::Relaxed) >= number;
        !one_of_many && over.await.is_ok()
    }

    /// Waits until the supervisor has got somewhere, or nowhere.
    pub(crate) async fn settled(&self) -> Phase {
        let mut phases = self.phase.subscribe();
        let settled = phases.wait_for(|phase| !matches!(phase, Phase::Dialing { .. })).await;
        settled.map_or(Phase::Closed, |phase| *phase)
    }

    /// An attempt begins. Where calls wait for the first attempt after a loss, this is it.
    pub(crate) fn set_dialing(&self, fresh: bool) {
        if !(fresh && matches!(self.phase(), Phase::Dialing { fresh: true, .. })) {
            self.enter(self.dialing(fresh));
        }
    }

    fn enter(&self, next: Phase) -> bool {
        self.phase.send_if_modified(|phase| {
            let open = *phase != Phase::Closed;
            if open {
                *phase = next;
            }
            open
        })
    }

    fn dialing(&self, fresh: bool) -> Phase {
        let number = self.attempts.fetch_add(1, Ordering::Relaxed) + 1;
        Phase::Dialing { number, since: Instant::now(), fresh }
    }

    /// Publishes a connection to the server at `address` and returns its generation.
    pub(crate) fn publish(&self, handle: Handle, address: &str) -> u64 {
        let generation = self.attempts.fetch_add(1, Ordering::Relaxed) + 1;
        let mut live = self.live.write();
        // Their replies went with the connection before.
        self.in_flight.over(self.in_flight.given_up());
        if self.enter(Phase::Live { generation }) {
            *live = Some(Live {
                generation,
                since: Instant::now(),
                address: address.to_owned(),
                handle,
            });
        }
        generation
    }

    /// No call gets the connection of this generation from now on.
    pub(crate) fn withdraw(&self, generation: u64) {
        let mut live = self.live.write();
        if live.as_ref().is_some_and(|live| live.generation == generation) {
            // In this order: who finds no connection finds that another is being made.
            self.enter(self.dialing(true));
            *live = None;
        }
    }

    /// Gives the connection up, if it has been there for so long and leads to such a server.
    pub(crate) fn leave(&self, least: Duration, leads: impl Fn(&str) -> bool) {
        let left = match &*self.live.read() {
            Some(live) if live.since.elapsed() >= least && leads(&live.address) => live.generation,
            _ => return,
        };
        self.condemn(left);
    }

    /// The server to which the connection of this generation leads, if it is there still.
    pub(crate) fn address(&self, generation: u64) -> Option<String> {
        let live = self.live.read();
        live.as_ref().filter(|live| live.generation == generation).map(|live| live.address.clone())
    }

    /// The connection of this generation cannot be used any more.
    fn condemn(&self, generation: u64) {
        self.withdraw(generation);
        self.condemned.fetch_max(generation, Ordering::Relaxed);
        self.doom.notify_one();
    }

    /// Waits for the connection after the one of this generation: false if there is none after the
    /// next attempt.
    pub(crate) async fn successor(&self, generation: u64) -> bool {
        let mut phases = self.phase.subscribe();
        let over = phases.wait_for(|phase| match phase {
            Phase::Live { generation: next } => *next > generation,
            Phase::Down | Phase::Closed => true,
            Phase::Dialing { .. } => false,
        });
        over.await.is_ok_and(|phase| matches!(*phase, Phase::Live { .. }))
    }

    pub(crate) fn set_down(&self, fault: CacheError) {
        *self.fault.lock() = fault;
        self.enter(Phase::Down);
    }

    /// No call gets a connection any more; those that have one keep it.
    pub(crate) fn close(&self, fault: CacheError) {
        let mut live = self.live.write();
        *self.fault.lock() = fault;
        self.phase.send_replace(Phase::Closed);
        *live = None;
    }

    pub(crate) fn in_flight(&self) -> &Load {
        &self.in_flight
    }

    /// Has the supervisor look whether anyone is there.
    pub(crate) fn suspect(&self) {
        self.suspected.notify_one();
    }

    /// Ends when a call got no answer in time.
    pub(crate) async fn suspected(&self) {
        self.suspected.notified().await;
    }

    /// Ends when a call found the connection of this generation unusable.
    pub(crate) async fn condemned(&self, generation: u64) {
        while self.condemned.load(Ordering::Relaxed) < generation {
            self.doom.notified().await;
        }
    }
}

/// A connection on loan to one call.
pub(crate) struct Lease<'a> {
    pub(crate) handle: Handle,
    pub(crate) guard: InFlight<'a>,
}

/// Counts a call among those its link carries, until dropped.
pub(crate) struct InFlight<'a> {
    pub(crate) link: &'a Link,
    pub(crate) generation: u64,
    since: Instant,
}

impl InFlight<'_> {
    /// The supervisor looks whether anyone is there.
    pub(crate) fn suspect(&self) {
        self.link.suspect();
    }

    /// The call had no answer in time. It weighs on its link until the supervisor has had one, for
    /// what comes next on that connection comes later.
    pub(crate) fn give_up(self) {
        self.link.in_flight.give_up();
        self.link.suspect();
        // Counted already.
        std::mem::forget(self);
    }

    /// The connection works and should lead elsewhere. One that was opened just now leads where the
    /// next one would: calls that are served there go on being served.
    pub(crate) fn replace(&self) {
        if self.since.elapsed() >= SETTLED { self.condemn() } else { self.suspect() }
    }

    /// The connection cannot be used any more.
    pub(crate) fn condemn(&self) {
        self.link.condemn(self.generation);
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.link.in_flight.remove();
    }
}
