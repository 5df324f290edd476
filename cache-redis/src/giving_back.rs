//! Leases whose outcome is not known, because the reply was lost or nobody waited for it: given
//! back in the background, so that others need not wait for them to run out.
//!
//! What gives back may overtake what asks, over another connection. That a lease is not there is
//! final only once it can no longer be granted.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::bus::Voice;
use crate::connection::{Call, Connections, Lane, Retry};
use crate::key::Keyspace;
use crate::script::{self, Notice};

/// Between attempts. Short: once the server is well, others wait for this lease no longer.
const PAUSE: Duration = Duration::from_millis(150);
/// Some 20 s in all.
const ATTEMPTS: usize = 130;
/// How many leases are being given back at a time; further ones run out by themselves.
const MOST: usize = 4_096;

/// The tasks that give back; they end with it.
pub(crate) struct GivingBack {
    connections: Connections,
    tell: Option<Arc<Tell>>,
    tasks: Mutex<JoinSet<()>>,
}

/// How those are told who wait for a lease.
pub(crate) struct Tell {
    pub(crate) voice: Voice,
    pub(crate) keys: Keyspace,
}

impl Tell {
    /// The message about the key of this name in Redis.
    pub(crate) fn message(&self, name: &str) -> String {
        self.voice.filled(self.keys.bare(name))
    }

    pub(crate) fn notice<'a>(&'a self, message: &'a str) -> Notice<'a> {
        Notice { channel: &self.voice.channel, message }
    }
}

impl GivingBack {
    pub(crate) fn new(connections: Connections) -> Self {
        Self { connections, tell: None, tasks: Mutex::default() }
    }

    pub(crate) fn set_tell(&mut self, tell: Arc<Tell>) {
        self.tell = Some(tell);
    }

    /// Gives the lease back when dropped, unless it is [settled](Unsettled::settled) before.
    pub(crate) fn unless_settled<'a>(&'a self, key: &'a str, id: u64) -> Unsettled<'a> {
        Unsettled { by: self, key, id, asked_until: None, settled: false }
    }
}

/// A request whose outcome is not known yet.
pub(crate) struct Unsettled<'a> {
    by: &'a GivingBack,
    key: &'a str,
    id: u64,
    asked_until: Option<Instant>,
    settled: bool,
}

impl Unsettled<'_> {
    /// The lease is being asked for: it may still be granted until then, later than what gives it
    /// back has found that it is not there.
    pub(crate) fn asked_for(mut self, until: Instant) -> Self {
        self.asked_until = Some(until);
        self
    }

    /// The server has answered.
    pub(crate) fn settled(mut self) {
        self.settled = true;
    }
}

impl Drop for Unsettled<'_> {
    fn drop(&mut self) {
        let Self { by, key, id, asked_until, settled } = *self;
        let GivingBack { connections, tell, tasks } = by;
        if settled {
            return;
        }
        let Ok(runtime) = Handle::try_current() else { return };
        let (connections, tell, key) = (connections.clone(), tell.clone(), key.to_owned());
        let give_back = async move {
            let message = tell.as_ref().map(|tell| tell.message(&key));
            let notice = tell.as_ref().zip(message.as_ref());
            let notice = notice.map(|(tell, message)| tell.notice(message));
            let call = script::Call::Abandon { key: &key, id, notice };
            let how = Call::new(Lane::Small).retry(Retry::Once);
            // What kept the answer away may keep this away too, for a while.
            for _ in 0..ATTEMPTS {
                let sent = Instant::now();
                let given = connections.evaluate(how, &call.by_hash(), || call.by_source()).await;
                let given = given.and_then(|reply| connections.convert::<u8>(reply));
                match (given, asked_until) {
                    // It was not there yet.
                    (Ok(0), Some(until)) if sent < until => sleep_until(until).await,
                    (Ok(_), _) => return,
                    (Err(_), _) => sleep(PAUSE).await,
                }
            }
            // The lease runs out by itself.
        };
        let mut tasks = tasks.lock();
        while tasks.try_join_next().is_some() {}
        if tasks.len() >= MOST {
            return;
        }
        tasks.spawn_on(give_back, &runtime);
    }
}
