//! What the clones of a service share, and the tasks that belong to it.

use std::sync::Arc;
use std::time::Duration;

use cache_core::{CacheError, Clock, ErrorKind, LockError, Timestamp, TracedKeys};
use cache_redis::Connections;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};

use super::durability::{Durability, Replicas};
use super::error::{task_gone, task_late, unavailable};
use super::hand_over::{HandOvers, Said, Stray};
use super::holds::Holds;
use super::known::KnownKeys;
use super::names::{Namespace, Tokens};
use super::release::{Backlog, Job};
use super::script::{CLAIM, Redis};
use super::{eviction, release, renew};
use crate::LocalConcurrencyService;
use crate::stats::Counters;

/// What a runtime may take on top of the time that its tasks have.
const GRACE: Duration = Duration::from_secs(1);

/// What is set, and does not change.
pub(crate) struct Settings {
    pub(crate) namespace: String,
    pub(crate) durability: Option<Durability>,
    pub(crate) confirm: bool,
    pub(crate) traced_keys: TracedKeys,
}

/// Lives as long as a service or a guard of it.
pub(crate) struct Inner {
    pub(crate) redis: Redis,
    pub(crate) namespace: Namespace,
    pub(crate) tokens: Tokens,
    pub(crate) hand_overs: HandOvers,
    /// Those that must have a lock before it counts.
    pub(crate) replicas: Option<Replicas>,
    /// Hand-overs are asked for before they count.
    pub(crate) confirm: bool,
    pub(crate) counters: Arc<Counters>,
    #[cfg_attr(not(feature = "tracing"), allow(dead_code, reason = "there are no spans"))]
    pub(crate) traced_keys: TracedKeys,
    pub(crate) gate: LocalConcurrencyService,
    pub(crate) clock: Clock,
    pub(crate) holds: Arc<Holds>,
    pub(crate) known: KnownKeys,
    pub(crate) jobs: UnboundedSender<Job>,
    pub(crate) backlog: Backlog,
    pub(crate) closed: watch::Sender<bool>,
    process: String,
    runtime: Handle,
    /// Attempts under way; each ends within the budget of one operation.
    attempts: Mutex<JoinSet<()>>,
    renewer: JoinHandle<()>,
    /// Looks at the server's settings once, and ends.
    looker: JoinHandle<()>,
}

impl Inner {
    pub(crate) fn start(
        connections: Connections,
        settings: Settings,
    ) -> Result<Arc<Self>, CacheError> {
        let Settings { namespace, durability, confirm, traced_keys } = settings;
        let runtime = Handle::try_current().map_err(|error| {
            let message = "a lock service over Redis needs a tokio runtime";
            CacheError::new(ErrorKind::Config, message).with_source(error)
        })?;
        let (namespace, clock) = (Namespace::new(&namespace), Clock::system());
        let redis = Redis::new(connections, &namespace);
        let (holds, counters) = (Arc::new(Holds::default()), Arc::<Counters>::default());
        let (jobs, queue) = unbounded_channel();
        let renewer = runtime.spawn(renew::run(Arc::clone(&holds), redis.clone(), clock.clone()));
        let looker = runtime.spawn(eviction::warn(redis.clone()));
        // Ends by itself, once all senders are gone and it has done what they sent: the last
        // guard may be dropped after the last service, and is to be given back all the same.
        let releasing = release::run(redis.clone(), clock.clone(), Arc::clone(&counters), queue);
        drop(runtime.spawn(releasing));
        Ok(Arc::new(Self {
            redis,
            namespace,
            tokens: Tokens::new(),
            hand_overs: HandOvers::new(),
            replicas: durability.map(Replicas::new),
            // Those that replicas must know of are, by being asked for.
            confirm: confirm || durability.is_some(),
            counters,
            traced_keys,
            gate: LocalConcurrencyService::new(),
            clock,
            holds,
            known: KnownKeys::default(),
            jobs,
            backlog: Backlog::new(),
            closed: watch::Sender::new(false),
            process: process(),
            runtime,
            attempts: Mutex::default(),
            renewer,
            looker,
        }))
    }

    /// Runs an attempt, which ends with the service.
    pub(crate) fn spawn(&self, attempt: impl Future<Output = ()> + Send + 'static) {
        #[cfg(feature = "tracing")]
        let attempt = tracing::Instrument::in_current_span(attempt);
        let mut attempts = self.attempts.lock();
        while attempts.try_join_next().is_some() {}
        attempts.spawn_on(attempt, &self.runtime);
    }

    /// Sees to it that hand-overs are heard, some time.
    pub(crate) fn hear_of_hand_overs(&self) -> Result<(), LockError> {
        let setup = || (self.redis.channel(&self.tokens.process), self.stray());
        let started = self.hand_overs.start(&self.redis.connections, setup, &self.runtime);
        started.map_err(unavailable)
    }

    /// Gives back what is handed to a token that neither waits nor holds, and ends the lease of a hold
    /// that was taken away.
    fn stray(&self) -> impl Fn(Stray<'_>) + Send + Sync + 'static {
        let (namespace, holds) = (self.namespace.clone(), Arc::clone(&self.holds));
        let (jobs, backlog, clock) = (self.jobs.clone(), self.backlog.clone(), self.clock.clone());
        move |Stray { token, said, lock }| {
            let held = holds.of(token);
            match (said, held) {
                (Said::Lost(fence), Some((id, hold))) => {
                    let its = u64::from(hold.lease.fencing_token());
                    if fence.is_none_or(|fence| fence == its) {
                        holds.take_away(id, &hold);
                    }
                    return;
                }
                // A waiter is forgotten after it has become a holder: who is neither is gone.
                (Said::Turn(_), None) => {}
                _ => return,
            }
            let Some(key) = namespace.key(lock) else { return };
            let (names, token) = (Arc::new(namespace.names(&key)), token.to_owned());
            let until = clock.now() + CLAIM;
            let _ = jobs.send(Job::Leave { names, token, until, pending: backlog.pending() });
        }
    }

    /// A token for whoever asks.
    pub(crate) fn token(&self) -> String {
        self.tokens.next(&self.label())
    }

    /// Who asks, for people.
    fn label(&self) -> String {
        match tokio::task::try_id() {
            Some(task) => format!("{} · task {task}", self.process),
            None => self.process.clone(),
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.renewer.abort();
        self.looker.abort();
    }
}

/// What a task of the service says. Its time is bounded by itself; here it is by a timer of the caller's
/// own as well, as the service's runtime may be another, which is blocked or driven by nobody.
pub(crate) async fn hear<T>(
    clock: &Clock,
    told: oneshot::Receiver<T>,
    until: Timestamp,
) -> Result<T, LockError> {
    if Handle::try_current().is_err() {
        // Without a runtime there is no timer.
        return told.await.map_err(|_| task_gone());
    }
    tokio::select! {
        biased;
        told = told => told.map_err(|_| task_gone()),
        () = clock.sleep_until(until + GRACE) => Err(task_late()),
    }
}

/// This process, with its host where that can be known without asking anybody.
fn process() -> String {
    let pid = std::process::id();
    match std::fs::read_to_string("/proc/sys/kernel/hostname") {
        Ok(host) if !host.trim().is_empty() => format!("pid {pid} on {}", host.trim()),
        _ => format!("pid {pid}"),
    }
}
