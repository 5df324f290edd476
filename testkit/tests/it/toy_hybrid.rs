//! Two tiers and a bus in a hundred lines, right or with one of the bugs that such caches have.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use cache_core::{
    BusEvent, CacheError, CacheStats, CacheStore, Clock, Entry, InvalidationBus, Lease,
    LeaseOutcome, ReadThrough, Selector,
};
use futures_util::StreamExt;
use std::sync::Mutex;

use crate::backend::MapStore;

/// What is wrong with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Bug {
    #[default]
    None,
    /// The near tier takes what was read before a removal.
    CommitsUnchecked,
    /// The near tier keeps what it has when the bus is back.
    NoFlushOnReconnect,
    /// The near tier is served while the bus is lost.
    ServesWithoutBus,
    /// The far tier takes what was loaded before a removal.
    FillsWithoutLease,
    /// The bus is told before the far tier.
    TellsFirst,
    /// Nobody listens to the bus.
    NeverSubscribes,
    /// Nobody does after some time.
    StopsListening,
    /// Nobody asks for what comes after some time, although the subscription is there.
    StopsAsking,
}

tokio::task_local! {
    /// Set while a removal comes from the bus: it is for the near tier and the loads in flight.
    static FROM_BUS: ();
}

#[derive(Debug)]
pub(crate) struct Toy {
    near: MapStore,
    far: Arc<dyn CacheStore>,
    bus: Arc<dyn InvalidationBus>,
    /// The bus is up and the near tier has been emptied since.
    trusted: AtomicBool,
    /// The near leases that belong to far ones.
    leases: Mutex<HashMap<u64, Lease>>,
    bug: Bug,
}

impl Toy {
    /// The engine over it, and the task that listens to the bus; it ends with the runtime.
    pub(crate) fn start(
        far: Arc<dyn CacheStore>,
        bus: Arc<dyn InvalidationBus>,
        bug: Bug,
    ) -> ReadThrough<Arc<Self>> {
        let never = bug == Bug::NeverSubscribes;
        let events = (!never).then(|| bus.subscribe());
        let (near, trusted) = (MapStore::new(far.clock()), AtomicBool::new(never));
        let toy = Arc::new(Self { near, far, bus, trusted, leases: Mutex::default(), bug });
        let engine = ReadThrough::new(toy);
        let own = engine.clone();
        tokio::spawn(async move {
            let Some(mut events) = events else { return };
            let mut left = match bug {
                Bug::StopsListening | Bug::StopsAsking => 5,
                _ => usize::MAX,
            };
            while let Some(event) = events.next().await {
                own.inner().hear(&own, event).await;
                left -= 1;
                match (left, bug) {
                    (0, Bug::StopsAsking) => std::future::pending().await,
                    (0, _) => return,
                    _ => {}
                }
            }
        });
        engine
    }

    async fn hear(&self, engine: &ReadThrough<Arc<Self>>, event: BusEvent) {
        let drop_all =
            |what| FROM_BUS.scope((), async move { engine.remove(&what).await.map(drop) });
        match event {
            BusEvent::Connected => {
                if self.bug != Bug::NoFlushOnReconnect {
                    drop_all(Selector::All).await.unwrap();
                }
                self.trusted.store(true, Ordering::SeqCst);
            }
            BusEvent::Disconnected => {
                self.trusted.store(self.bug == Bug::ServesWithoutBus, Ordering::SeqCst);
            }
            BusEvent::Removed(what) => drop_all(what).await.unwrap(),
            _ => {}
        }
    }

    fn near(&self) -> Option<&MapStore> {
        self.trusted.load(Ordering::SeqCst).then_some(&self.near)
    }

    async fn near_lease(&self, key: &str) -> Lease {
        match self.near.lease(key, Duration::from_secs(3600)).await.unwrap() {
            LeaseOutcome::Granted(lease) => lease,
            other => panic!("leases in memory are granted: {other:?}"),
        }
    }

    async fn commit(&self, lease: Lease, entry: Entry) {
        if self.bug == Bug::CommitsUnchecked {
            self.near.store(lease.key(), entry).await.unwrap();
        } else {
            self.near.fill(lease, entry).await.unwrap();
        }
    }

    async fn leased(&self, outcome: LeaseOutcome, near: Lease) -> LeaseOutcome {
        match &outcome {
            LeaseOutcome::Granted(lease) => {
                self.leases.lock().unwrap().insert(lease.id(), near);
            }
            LeaseOutcome::Fresh(entry) => self.commit(near, entry.clone()).await,
            LeaseOutcome::Held { .. } => {}
        }
        outcome
    }
}

#[async_trait]
impl CacheStore for Toy {
    fn peek(&self, key: &str) -> Option<Entry> {
        self.near()?.peek(key)
    }

    async fn fetch(&self, key: &str) -> Result<Option<Entry>, CacheError> {
        if let Some(entry) = self.peek(key) {
            return Ok(Some(entry));
        }
        let lease = self.near_lease(key).await;
        let found = self.far.fetch(key).await?;
        if let Some(entry) = &found {
            self.commit(lease, entry.clone()).await;
        }
        Ok(found)
    }

    async fn fetch_many(&self, keys: &[String]) -> Result<Vec<Option<Entry>>, CacheError> {
        let mut found = Vec::new();
        for key in keys {
            found.push(self.fetch(key).await?);
        }
        Ok(found)
    }

    async fn store(&self, key: &str, entry: Entry) -> Result<(), CacheError> {
        let what = Selector::key(key);
        self.near.remove(&what).await?;
        self.far.store(key, entry).await?;
        self.near.remove(&what).await?;
        self.bus.publish(&what).await
    }

    async fn store_many(&self, entries: Vec<(String, Entry)>) -> Result<(), CacheError> {
        for (key, entry) in entries {
            self.store(&key, entry).await?;
        }
        Ok(())
    }

    async fn remove(&self, what: &Selector) -> Result<Option<u64>, CacheError> {
        if FROM_BUS.try_with(|()| ()).is_ok() {
            return self.near.remove(what).await;
        }
        self.near.remove(what).await?;
        if self.bug == Bug::TellsFirst {
            self.bus.publish(what).await?;
        }
        let removed = self.far.remove(what).await?;
        self.near.remove(what).await?;
        if self.bug != Bug::TellsFirst {
            self.bus.publish(what).await?;
        }
        Ok(removed)
    }

    async fn lease(&self, key: &str, ttl: Duration) -> Result<LeaseOutcome, CacheError> {
        let near = self.near_lease(key).await;
        let outcome = self.far.lease(key, ttl).await?;
        Ok(self.leased(outcome, near).await)
    }

    async fn lease_to_replace(&self, key: &str, ttl: Duration) -> Result<LeaseOutcome, CacheError> {
        let near = self.near_lease(key).await;
        let outcome = self.far.lease_to_replace(key, ttl).await?;
        Ok(self.leased(outcome, near).await)
    }

    async fn fill(&self, lease: Lease, entry: Entry) -> Result<bool, CacheError> {
        let near = self.leases.lock().unwrap().remove(&lease.id());
        if self.bug == Bug::FillsWithoutLease {
            self.far.store(lease.key(), entry).await?;
            return Ok(true);
        }
        let filled = self.far.fill(lease, entry.clone()).await?;
        if let (true, Some(near)) = (filled, near) {
            self.commit(near, entry).await;
        }
        Ok(filled)
    }

    async fn abandon(&self, lease: Lease) -> Result<(), CacheError> {
        self.leases.lock().unwrap().remove(&lease.id());
        self.far.abandon(lease).await
    }

    fn stats(&self) -> CacheStats {
        self.far.stats()
    }

    fn clock(&self) -> Clock {
        self.far.clock()
    }
}
