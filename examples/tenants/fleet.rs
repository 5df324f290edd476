//! The instances of the service: one, or several that share a Redis.
//!
//! Each has its own near tier, connections and bus, as if it were a process of its own; the
//! database is the same for all.

use std::sync::Arc;
use std::time::Duration;

use cache_services::{CacheConfig, CacheServiceExt, CacheServices, CacheStats};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use crate::AnyError;
use crate::database::Database;
use crate::service::TenantService;

/// What an instance takes at most until it hears of the others.
const START: Duration = Duration::from_secs(10);

/// The caches and locks of as many instances, set up from the environment.
pub(crate) async fn connect(instances: usize) -> Result<Vec<CacheServices>, AnyError> {
    let mut config = CacheConfig::from_env()?;
    let redis = config.redis_url.as_deref().is_some_and(|url| !url.trim().is_empty());
    if !redis && instances == 1 {
        return Ok(vec![CacheServices::from_config(config).await?]);
    }
    if !redis {
        return Err(format!(
            "--instances {instances} needs a Redis for them to share: set REDIS_URL; for example \
             start `redis-server --port 6379 --save ''` and set REDIS_URL=redis://127.0.0.1:6379"
        )
        .into());
    }
    // What an earlier run left behind, or one beside it stores, is not found by this one.
    config.namespace = format!("tenants-{}", Uuid::new_v4());
    let mut services = Vec::with_capacity(instances);
    for _ in 0..instances {
        services.push(CacheServices::from_config(config.clone()).await?);
    }
    timeout(START, all_hear(&services))
        .await
        .map_err(|_| "the instances do not hear of each other over Redis's pub/sub")?;
    Ok(services)
}

/// Once an instance can hear of what others change it serves its near tier, if it has one.
async fn all_hear(services: &[CacheServices]) {
    for instance in services {
        while instance.tier_stats().is_some_and(|tiers| !tiers.bus_up) {
            sleep(Duration::from_millis(1)).await;
        }
    }
}

/// All instances; there is at least one.
pub(crate) struct Fleet {
    services: Vec<CacheServices>,
    tenants: Vec<TenantService>,
    database: Arc<Database>,
}

impl Fleet {
    pub(crate) fn new(services: Vec<CacheServices>, database: Arc<Database>) -> Self {
        let tenants =
            |services: &CacheServices| TenantService::new(services.cache(), Arc::clone(&database));
        Self { tenants: services.iter().map(tenants).collect(), services, database }
    }

    pub(crate) fn len(&self) -> usize {
        self.services.len()
    }

    pub(crate) fn database(&self) -> &Arc<Database> {
        &self.database
    }

    /// An instance's cache and locks; after the last instance comes the first again.
    pub(crate) fn services(&self, nth: usize) -> &CacheServices {
        &self.services[nth % self.services.len()]
    }

    /// The tenant service of the same instance.
    pub(crate) fn tenants(&self, nth: usize) -> &TenantService {
        &self.tenants[nth % self.tenants.len()]
    }

    /// The tenant services of all others.
    pub(crate) fn others(&self, nth: usize) -> impl Iterator<Item = &TenantService> {
        (1..self.len()).map(move |further| self.tenants(nth + further))
    }

    /// What the caches of all instances have counted.
    pub(crate) fn stats(&self) -> CacheStats {
        let each = self.services.iter().map(|services| services.cache().stats());
        each.fold(CacheStats::default(), |sum, stats| sum + stats)
    }

    pub(crate) fn counts(&self) -> Counts {
        let mut counts = Counts { cache: self.stats(), ..Counts::default() };
        for tiers in self.services.iter().filter_map(CacheServices::tier_stats) {
            counts.far_reads += tiers.far_reads;
            counts.told += tiers.told;
            counts.heard += tiers.heard;
        }
        counts
    }

    /// Ends all instances. What they stored in Redis is removed from there.
    pub(crate) async fn shutdown(&self) -> Result<(), AnyError> {
        let first = self.services(0);
        let cleared = match first.tier_stats() {
            Some(_) => first.cache().clear().await,
            None => Ok(()),
        };
        for services in &self.services {
            services.shutdown().await;
        }
        Ok(cleared?)
    }
}

/// What all instances have counted, summed up.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) cache: CacheStats,
    pub(crate) far_reads: u64,
    pub(crate) told: u64,
    pub(crate) heard: u64,
}
