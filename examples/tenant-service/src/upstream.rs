//! The identity provider, simulated: it takes a while, and counts how often it is asked.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::clock;
use crate::secret::TokenHash;

/// What a token was exchanged for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// What the identity provider calls it.
    pub session: Uuid,
    /// Which exchange of that provider it was, from 1.
    pub exchange: u64,
    /// When it ends, in seconds since 1970.
    pub expires_at: u64,
}

/// An identity provider that does not like to be asked twice.
#[derive(Debug)]
pub struct Upstream {
    latency: Duration,
    lasts: Duration,
    exchanges: AtomicU64,
}

impl Upstream {
    /// One that takes `latency` for an exchange and gives sessions that last for `lasts`.
    #[must_use]
    pub fn new(latency: Duration, lasts: Duration) -> Self {
        Self { latency, lasts, exchanges: AtomicU64::new(0) }
    }

    /// Exchanges so far.
    #[must_use]
    pub fn exchanges(&self) -> u64 {
        self.exchanges.load(Ordering::Relaxed)
    }

    /// How long sessions last.
    #[must_use]
    pub fn session_lasts(&self) -> Duration {
        self.lasts
    }

    /// Exchanges a token. A real provider would be given the token itself.
    pub(crate) async fn exchange(&self, _token: &TokenHash) -> Session {
        let exchange = self.exchanges.fetch_add(1, Ordering::Relaxed) + 1;
        tokio::time::sleep(self.latency).await;
        let expires_at = clock::now() + self.lasts.as_secs();
        Session { session: Uuid::new_v4(), exchange, expires_at }
    }
}
