//! Demonstration: a change is seen by the next lookup after `invalidate`, with loads in flight.
//!
//! The dangerous moment of every cache beside a database: a load has read the old row, then the row
//! changes and the key is invalidated, and then the load stores what it read. Here a load is held
//! open at exactly that place.
//!
//! With several instances the three loads are held open on different ones. Who looks up on the
//! instance that changed the role sees the change at once, the others when the bus has told them.

use std::slice;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cache_services::{CacheError, CacheServiceExt};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::AnyError;
use crate::directory::{Directory, Organisation};
use crate::fleet::Fleet;
use crate::format::count;
use crate::seed::ROLES;
use crate::service::{Identity, Tenant, TenantService};

const ROUNDS: usize = 300;

/// A lookup that takes this long has joined a load that is held open.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// On an instance that has not heard of the change yet a lookup may join such a load; the next one
/// does not.
const NEXT_LOOKUP: Duration = Duration::from_millis(5);

pub(crate) async fn demonstrate(fleet: &Fleet, directory: &Directory) -> Result<(), AnyError> {
    println!("\nA role change is seen by the next lookup after `invalidate`:");
    let refused_before = fleet.stats().fills_refused;
    for (round, organisation) in directory.0.iter().cycle().take(ROUNDS).enumerate() {
        change_role(round, fleet, organisation).await?;
    }
    let refused = fleet.stats().fills_refused - refused_before;
    println!(
        "  {ROUNDS} times a user's role was changed, and the tenant's slug, host and UUID invalidated,"
    );
    println!("  while a load under each of the three held the old role, read but not yet stored.");
    println!(
        "  Every lookup after that showed the new role, before and after the loads ended; {} of",
        count(refused)
    );
    println!("  their {} old values were refused by the cache.", count(ROUNDS as u64 * 3));
    if fleet.len() > 1 {
        println!(
            "  The loads were on different instances, and each round another one made the change."
        );
    }
    Ok(())
}

async fn change_role(
    round: usize,
    fleet: &Fleet,
    organisation: &Organisation,
) -> Result<(), AnyError> {
    let tenants = fleet.tenants(round);
    let identities = organisation.identities();
    let email = format!("ada@{}", organisation.host);

    // Three loads, under the three identities, that have read the old role and not stored it yet.
    tenants.forget(&identities).await?;
    for other in fleet.others(round) {
        expect_gone(other, &identities).await?;
    }
    let mut loads = Vec::new();
    for (nth, identity) in identities.iter().enumerate() {
        loads.push(HeldLoad::start(fleet.tenants(round + nth), identity).await?);
    }
    let new = next_role(role_in(&loads[0].read, &email)?);

    tenants.set_role(&identities, &email, new).await?;

    // Every other time the loads end before the next lookup, else after it.
    if round.is_multiple_of(2) {
        expect_everywhere(fleet, round, &identities, &email, new).await?;
    }
    for load in loads {
        load.finish().await?;
    }
    expect_everywhere(fleet, round, &identities, &email, new).await
}

/// Looks the tenant up on every instance, first where its user's role was changed.
async fn expect_everywhere(
    fleet: &Fleet,
    changed_on: usize,
    identities: &[Identity],
    email: &str,
    role: &str,
) -> Result<(), AnyError> {
    expect(fleet.tenants(changed_on), identities, email, role).await?;
    for other in fleet.others(changed_on) {
        wait_for(other, identities, email, role).await?;
        // What was seen once stays seen.
        expect(other, identities, email, role).await?;
    }
    Ok(())
}

/// Looks the tenant up until it has been told of the change.
async fn wait_for(
    tenants: &TenantService,
    identities: &[Identity],
    email: &str,
    role: &str,
) -> Result<(), AnyError> {
    let start = Instant::now();
    for identity in identities {
        loop {
            if let Ok(found) = timeout(NEXT_LOOKUP, tenants.find(identity)).await
                && role_in(&*found?, email)? == role
            {
                break;
            }
            if start.elapsed() > PATIENCE {
                let wrong = format!("{identity:?} shows {email} with the old role elsewhere");
                return Err(wrong.into());
            }
            tokio::task::yield_now().await;
        }
    }
    Ok(())
}

/// Returns once the instance has been told that the tenant was forgotten.
async fn expect_gone(tenants: &TenantService, identities: &[Identity]) -> Result<(), AnyError> {
    let start = Instant::now();
    for identity in identities {
        while tenants.cache().contains(&identity.cache_key()).await? {
            if start.elapsed() > PATIENCE {
                return Err(format!("{identity:?} is still cached elsewhere").into());
            }
            sleep(Duration::from_micros(100)).await;
        }
    }
    Ok(())
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

/// After the last role the first again.
pub(crate) fn next_role(role: &str) -> &'static str {
    ROLES.into_iter().cycle().skip_while(|next| *next != role).nth(1).unwrap_or(ROLES[0])
}

pub(crate) fn role_in<'a>(tenant: &'a Tenant, email: &str) -> Result<&'a str, AnyError> {
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
    async fn start(tenants: &TenantService, identity: &Identity) -> Result<Self, AnyError> {
        loop {
            let (has_read, read) = oneshot::channel();
            let (go_on, may_go_on) = oneshot::channel();
            let caller = tokio::spawn(load(tenants.clone(), identity.clone(), has_read, may_go_on));
            if let Ok(read) = read.await {
                return Ok(Self { read, go_on, caller });
            }
            // With a short TTL a refresh may have been under way, and answered instead.
            caller.await??;
            tenants.forget(slice::from_ref(identity)).await?;
        }
    }

    /// Lets it go on, and waits until its caller has the value.
    async fn finish(self) -> Result<(), AnyError> {
        // It waits for this, so there is someone to hear it.
        let _ = self.go_on.send(());
        self.caller.await??;
        Ok(())
    }
}

async fn load(
    tenants: TenantService,
    identity: Identity,
    has_read: oneshot::Sender<Tenant>,
    may_go_on: oneshot::Receiver<()>,
) -> Result<Arc<Tenant>, CacheError> {
    let (key, database) = (identity.cache_key(), Arc::clone(tenants.database()));
    let load = || async move {
        let tenant = database.tenant(identity).await?;
        // If the other side has gone, the round has failed already.
        let _ = has_read.send(tenant.clone());
        let _ = may_go_on.await;
        Ok::<_, AnyError>(tenant)
    };
    tenants.cache().get_or_load(&key, TenantService::policy(), load).await
}
