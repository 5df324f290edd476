//! Demonstration: a change is seen by the next lookup after `invalidate`, with loads in flight.
//!
//! The dangerous moment of every cache beside a database: a load has read the old row, then the row
//! changes and the key is invalidated, and then the load stores what it read. Here a load is held
//! open at exactly that place.

use std::sync::Arc;
use std::time::Duration;

use cache_services::{CacheError, CacheServiceExt};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::AnyError;
use crate::directory::{Directory, Organisation};
use crate::format::count;
use crate::seed::ROLES;
use crate::service::{Identity, Tenant, TenantService};

const ROUNDS: usize = 300;

/// A lookup that takes this long has joined a load that is held open.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) async fn demonstrate(
    tenants: &TenantService,
    directory: &Directory,
) -> Result<(), AnyError> {
    println!("\nA role change is seen by the next lookup after `invalidate`:");
    let refused_before = tenants.cache().stats().fills_refused;
    for (round, organisation) in directory.0.iter().cycle().take(ROUNDS).enumerate() {
        change_role(round, tenants, organisation).await?;
    }
    let refused = tenants.cache().stats().fills_refused - refused_before;
    println!(
        "  {ROUNDS} times a user's role was changed, and the tenant's slug, host and UUID invalidated,"
    );
    println!("  while a load under each of the three held the old role, read but not yet stored.");
    println!(
        "  Every lookup after that showed the new role, before and after the loads ended; {} of",
        count(refused)
    );
    println!("  their {} old values were refused by the cache.", count(ROUNDS as u64 * 3));
    Ok(())
}

async fn change_role(
    round: usize,
    tenants: &TenantService,
    organisation: &Organisation,
) -> Result<(), AnyError> {
    let identities = organisation.identities();
    let email = format!("ada@{}", organisation.host);

    // Three loads, under the three identities, that have read the old role and not stored it yet.
    tenants.forget(&identities).await?;
    let mut loads = Vec::new();
    for identity in &identities {
        loads.push(HeldLoad::start(tenants, identity.clone()).await?);
    }
    let old = role_in(&loads[0].read, &email)?;
    let new = ROLES.into_iter().cycle().skip_while(|role| *role != old).nth(1).unwrap_or(ROLES[0]);

    tenants.set_role(&identities, &email, new).await?;

    // Every other time the loads end before the next lookup, else after it.
    if round.is_multiple_of(2) {
        expect(tenants, &identities, &email, new).await?;
    }
    for load in loads {
        load.finish().await?;
    }
    expect(tenants, &identities, &email, new).await
}

/// Looks the tenant up under each identity; the user must have this role.
async fn expect(
    tenants: &TenantService,
    identities: &[Identity],
    email: &str,
    role: &str,
) -> Result<(), AnyError> {
    for identity in identities {
        let found = timeout(PATIENCE, tenants.find(identity)).await;
        let tenant = found
            .map_err(|_| format!("{identity:?} waits for a load from before the change"))??;
        let seen = role_in(&tenant, email)?;
        if seen != role {
            let wrong = format!("{identity:?} shows {email} as {seen} after the change to {role}");
            return Err(wrong.into());
        }
    }
    Ok(())
}

fn role_in<'a>(tenant: &'a Tenant, email: &str) -> Result<&'a str, AnyError> {
    tenant.role_of(email).ok_or_else(|| format!("{} has no user {email}", tenant.slug).into())
}

/// A load that has read the database and waits before it hands the value to the cache.
struct HeldLoad {
    read: Tenant,
    go_on: oneshot::Sender<()>,
    caller: JoinHandle<Result<Arc<Tenant>, CacheError>>,
}

impl HeldLoad {
    /// Returns once the load has read.
    async fn start(tenants: &TenantService, identity: Identity) -> Result<Self, AnyError> {
        let (has_read, read) = oneshot::channel();
        let (go_on, may_go_on) = oneshot::channel();
        let tenants = tenants.clone();
        let caller = tokio::spawn(async move {
            let (key, database) = (identity.cache_key(), Arc::clone(tenants.database()));
            let load = || async move {
                let tenant = database.tenant(identity).await?;
                // If the other side has gone, the round has failed already.
                let _ = has_read.send(tenant.clone());
                let _ = may_go_on.await;
                Ok::<_, AnyError>(tenant)
            };
            tenants.cache().get_or_load(&key, TenantService::policy(), load).await
        });
        Ok(Self { read: read.await?, go_on, caller })
    }

    /// Lets it go on, and waits until its caller has the value.
    async fn finish(self) -> Result<(), AnyError> {
        // It waits for this, so there is someone to hear it.
        let _ = self.go_on.send(());
        self.caller.await??;
        Ok(())
    }
}
