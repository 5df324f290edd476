//! What the requests of one instance share.

use std::sync::Arc;

use cache_services::{CacheService, CacheServices, ConcurrencyService};
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::database::Database;
use crate::live::Live;
use crate::lookups::{Lookups, ShadowCounts};
use crate::secret::Secret;
use crate::upstream::Upstream;

/// The state of the service. Clones are handles to the same one.
#[derive(Clone, Debug)]
pub struct App(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    services: CacheServices,
    database: Database,
    upstream: Arc<Upstream>,
    lookups: Lookups,
    live: Arc<Live>,
    change_token: Option<Secret>,
    tasks: TaskTracker,
    stopping: CancellationToken,
}

/// What an instance has done beside what its cache counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Lookups in the database.
    pub database_queries: u64,
    /// Tokens exchanged with the identity provider.
    pub upstream_exchanges: u64,
    /// Changes, exchanges and comparisons under way now.
    pub under_way: usize,
    /// What shadow mode has seen.
    pub shadow: ShadowCounts,
}

impl App {
    /// A service over these parts. With a `change_token`, whoever changes something has to show it.
    #[must_use]
    pub fn new(
        services: CacheServices,
        database: Database,
        upstream: Arc<Upstream>,
        live: Arc<Live>,
        change_token: Option<Secret>,
    ) -> Self {
        let (tasks, stopping) = (TaskTracker::new(), CancellationToken::new());
        let background = (tasks.clone(), stopping.clone());
        let lookups = Lookups::new(services.cache(), Arc::clone(&live), background);
        Self(Arc::new(Inner {
            services,
            database,
            upstream,
            lookups,
            live,
            change_token,
            tasks,
            stopping,
        }))
    }

    /// Where everything is looked up that may be cached.
    #[must_use]
    pub fn lookups(&self) -> &Lookups {
        &self.0.lookups
    }

    /// Where everything comes from.
    #[must_use]
    pub fn database(&self) -> &Database {
        &self.0.database
    }

    /// The cache, for invalidations above all.
    #[must_use]
    pub fn cache(&self) -> Arc<dyn CacheService> {
        self.0.services.cache()
    }

    /// The locks.
    #[must_use]
    pub fn locks(&self) -> Arc<dyn ConcurrencyService> {
        self.0.services.concurrency()
    }

    /// Both, as they were made at start-up.
    pub fn services(&self) -> &CacheServices {
        &self.0.services
    }

    /// Who exchanges tokens for sessions.
    #[must_use]
    pub fn upstream(&self) -> &Arc<Upstream> {
        &self.0.upstream
    }

    /// The settings that can change.
    #[must_use]
    pub fn live(&self) -> &Live {
        &self.0.live
    }

    pub(crate) fn change_token(&self) -> Option<&Secret> {
        self.0.change_token.as_ref()
    }

    /// What is to be brought to an end although nobody may wait for it any more.
    pub(crate) fn tasks(&self) -> &TaskTracker {
        &self.0.tasks
    }

    /// Ends what nobody needs brought to an end.
    pub(crate) fn stopping(&self) -> &CancellationToken {
        &self.0.stopping
    }

    /// What this instance has done so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            database_queries: self.0.database.queries(),
            upstream_exchanges: self.0.upstream.exchanges(),
            under_way: self.0.tasks.len(),
            shadow: self.0.lookups.shadow_counts(),
        }
    }
}
