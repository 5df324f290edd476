//! The tenant service: the part of this program that a real service would have.

use std::sync::Arc;
use std::time::Duration;

use cache_services::{CacheError, CacheService, CacheServiceExt, Policy};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::AnyError;
use crate::database::Database;

/// All that a request needs to know of the organisation it belongs to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Tenant {
    pub(crate) uuid: Uuid,
    pub(crate) slug: String,
    pub(crate) host: String,
    pub(crate) name: String,
    pub(crate) users: Vec<User>,
    pub(crate) roles: Vec<Role>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct User {
    pub(crate) email: String,
    pub(crate) role: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Role {
    pub(crate) name: String,
    pub(crate) permissions: Vec<String>,
}

/// What a request knows its organisation by.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Identity {
    Slug(String),
    Host(String),
    Uuid(Uuid),
}

impl Identity {
    /// The key under which the tenant is cached for those who ask with this identity.
    pub(crate) fn cache_key(&self) -> String {
        match self {
            Self::Slug(slug) => format!("tenant:slug:{slug}"),
            Self::Host(host) => format!("tenant:host:{host}"),
            Self::Uuid(uuid) => format!("tenant:uuid:{uuid}"),
        }
    }
}

impl Tenant {
    pub(crate) fn role_of(&self, email: &str) -> Option<&str> {
        let user = self.users.iter().find(|user| user.email == email)?;
        Some(&user.role)
    }
}

/// The part of its TTL by which a tenant may expire earlier, so that not all do at once.
pub(crate) const JITTER: f64 = 0.1;

/// Looks tenants up. Cheap to clone: one per request handler.
#[derive(Clone, Debug)]
pub(crate) struct TenantService {
    cache: Arc<dyn CacheService>,
    database: Arc<Database>,
}

impl TenantService {
    pub(crate) fn new(cache: Arc<dyn CacheService>, database: Arc<Database>) -> Self {
        Self { cache, database }
    }

    /// The TTL the service was configured with; after that, the old value for ten seconds more
    /// while one task fetches the new one.
    pub(crate) fn policy() -> Policy {
        Policy::default().stale_for(Duration::from_secs(10)).jitter(JITTER)
    }

    /// The tenant, from the cache or from the database. Tasks that miss the same key at the same
    /// time share one load.
    pub(crate) async fn find(&self, identity: &Identity) -> Result<Arc<Tenant>, CacheError> {
        let (database, wanted) = (Arc::clone(&self.database), identity.clone());
        self.cache
            .get_or_load(&identity.cache_key(), Self::policy(), || async move {
                database.tenant(wanted).await
            })
            .await
    }

    /// Gives a user another role. The database first, then the cache: whoever looks the tenant up
    /// once this has returned sees the change, also if a load was under way all the time.
    pub(crate) async fn set_role(
        &self,
        identities: &[Identity],
        email: &str,
        role: &str,
    ) -> Result<(), AnyError> {
        self.database.set_role(email, role).await?;
        self.forget(identities).await?;
        Ok(())
    }

    /// Removes a tenant from the cache, under everything it is known by.
    pub(crate) async fn forget(&self, identities: &[Identity]) -> Result<(), CacheError> {
        let keys: Vec<_> = identities.iter().map(Identity::cache_key).collect();
        let keys: Vec<_> = keys.iter().map(String::as_str).collect();
        self.cache.invalidate_many(&keys).await
    }

    pub(crate) fn cache(&self) -> &Arc<dyn CacheService> {
        &self.cache
    }

    pub(crate) fn database(&self) -> &Arc<Database> {
        &self.database
    }
}
