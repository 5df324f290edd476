//! Demonstration: how soon the other instances see a change after `invalidate` has returned.

use std::time::{Duration, Instant};

use cache_services::CacheServiceExt;
use tokio::task::{JoinSet, yield_now};
use tokio::time::timeout;

use crate::AnyError;
use crate::directory::Directory;
use crate::fleet::Fleet;
use crate::format::duration;
use crate::measure::percentile;
use crate::role_change::{PATIENCE, next_role, role_in};
use crate::service::{Identity, Tenant, TenantService};

const CHANGES: usize = 300;

/// After each change, until all other instances were so far; in ascending order.
#[derive(Debug, Default)]
pub(crate) struct Propagation {
    /// A read finds the old value no more.
    pub(crate) gone: Vec<Duration>,
    /// A lookup has returned the new one, which the first of them loads.
    pub(crate) new: Vec<Duration>,
}

pub(crate) async fn measure(fleet: &Fleet, directory: &Directory) -> Result<Propagation, AnyError> {
    println!("A change on one instance is seen by the others:");
    let mut measured = Propagation::default();
    for (round, organisation) in directory.0.iter().cycle().take(CHANGES).enumerate() {
        let identities = organisation.identities();
        let [identity, ..] = &identities;
        let email = format!("ada@{}", organisation.host);
        // Every instance holds the old value.
        for nth in 0..fleet.len() {
            fleet.tenants(nth).find(identity).await?;
        }
        let here = fleet.tenants(round);
        let new = next_role(role_in(&*here.find(identity).await?, &email)?);

        here.set_role(&identities, &email, new).await?;
        let changed = Instant::now();

        let mut readers = JoinSet::new();
        for other in fleet.others(round) {
            let reader =
                Reader { tenants: other.clone(), identity: identity.clone(), new, changed };
            let email = email.clone();
            readers.spawn(async move { reader.read(&email).await });
        }
        let (mut last_gone, mut last_new) = (Duration::ZERO, Duration::ZERO);
        while let Some(seen) = readers.join_next().await {
            let (gone, new) = seen??;
            (last_gone, last_new) = (last_gone.max(gone), last_new.max(new));
        }
        measured.gone.push(last_gone);
        measured.new.push(last_new);
    }
    measured.gone.sort_unstable();
    measured.new.sort_unstable();
    println!(
        "  {CHANGES} times; at the median all others saw it {} after `invalidate` returned.\n",
        duration(percentile(&measured.new, 0.5))
    );
    Ok(measured)
}

/// Who reads on another instance, again and again.
struct Reader {
    tenants: TenantService,
    identity: Identity,
    new: &'static str,
    changed: Instant,
}

impl Reader {
    /// When the old value was gone, and when the new one was there.
    async fn read(self, email: &str) -> Result<(Duration, Duration), AnyError> {
        let both = async {
            let gone = self.until_gone(email).await?;
            // A lookup may also be served an old value past its TTL, until the bus has told.
            while !self.finds_new(email).await? {
                yield_now().await;
            }
            Ok::<_, AnyError>((gone, self.changed.elapsed()))
        };
        let times = timeout(PATIENCE, both).await.map_err(|_| {
            format!("{:?} shows the old role on another instance after {PATIENCE:?}", self.identity)
        })??;
        if !self.finds_new(email).await? {
            return Err(format!("{:?} shows the old role again", self.identity).into());
        }
        Ok(times)
    }

    async fn finds_new(&self, email: &str) -> Result<bool, AnyError> {
        Ok(role_in(&*self.tenants.find(&self.identity).await?, email)? == self.new)
    }

    async fn until_gone(&self, email: &str) -> Result<Duration, AnyError> {
        let key = self.identity.cache_key();
        loop {
            match self.tenants.cache().get_arc::<Tenant>(&key).await? {
                Some(tenant) if role_in(&tenant, email)? != self.new => yield_now().await,
                // Another instance may have loaded and stored the new one already.
                _ => return Ok(self.changed.elapsed()),
            }
        }
    }
}
