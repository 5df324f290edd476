//! Which loads the current task is part of, to tell a loader that asks for what it is loading.

use std::future::Future;
use std::sync::Arc;

use super::flight::Flight;
use super::flights::Flight as _;
use crate::{CacheError, ErrorKind};

tokio::task_local! {
    static CHAIN: Arc<Chain>;
}

/// The flights one loader fills, and those that wait for them.
pub(crate) struct Chain {
    flights: Vec<u64>,
    parent: Option<Arc<Chain>>,
}

impl Chain {
    /// The chain of a loader that will fill `flights`, called from the current task.
    pub(crate) fn extend<'a>(flights: impl IntoIterator<Item = &'a Flight>) -> Arc<Self> {
        let flights = flights.into_iter().map(super::flights::Flight::id).collect();
        Arc::new(Self { flights, parent: CHAIN.try_with(Arc::clone).ok() })
    }

    /// Runs a loader as this chain's last link.
    pub(crate) async fn scope<T>(self: Arc<Self>, loader: impl Future<Output = T>) -> T {
        CHAIN.scope(self, loader).await
    }

    fn includes(&self, id: u64) -> bool {
        let parent = self.parent.as_ref();
        self.flights.contains(&id) || parent.is_some_and(|parent| parent.includes(id))
    }
}

/// Refuses to wait for a flight that waits for the current task.
pub(crate) fn check(key: &str, flight: &Flight) -> Result<(), CacheError> {
    let waits_for_itself = CHAIN.try_with(|chain| chain.includes(flight.id())).unwrap_or(false);
    if waits_for_itself {
        let message = "a loader asked for the key that it is loading";
        return Err(CacheError::new(ErrorKind::Load, message).with_key(key));
    }
    Ok(())
}
