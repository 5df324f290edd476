//! What is wrong at the moment, and how the connections learn of it.

use std::time::Duration;

use tokio::sync::watch;

/// The faults in force.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    pub(super) latency: Duration,
    pub(super) bandwidth: Option<u64>,
    /// New connections are reset.
    pub(super) cut: bool,
    /// Connections of an earlier generation are reset.
    pub(super) generation: u64,
    pub(super) swallow: Swallow,
    /// So many replies are still to be lost.
    pub(super) lose_replies: u64,
}

/// Which ways lead into a black hole.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Swallow {
    pub(super) to_server: bool,
    pub(super) to_client: bool,
}

impl Faults {
    pub(super) fn heal(&mut self) {
        *self = Self { generation: self.generation, ..Self::default() };
    }
}

/// The faults, changed from one place and watched from many.
#[derive(Debug)]
pub(super) struct Switch(watch::Sender<Faults>);

impl Switch {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(Faults::default()))
    }

    pub(super) fn now(&self) -> Faults {
        self.0.borrow().clone()
    }

    pub(super) fn watch(&self) -> watch::Receiver<Faults> {
        self.0.subscribe()
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Faults)) {
        self.0.send_modify(change);
    }

    /// Takes one of the replies that are to be lost; false if there is none left.
    pub(super) fn lose_one_reply(&self) -> bool {
        self.0.send_if_modified(|faults| {
            let lose = faults.lose_replies > 0;
            faults.lose_replies -= u64::from(lose);
            lose
        })
    }
}
