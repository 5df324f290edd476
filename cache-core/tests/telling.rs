//! A change is told to the other nodes after it has been done, through every wrapper.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::any::Any;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use cache_core::{
    BusEvent, CacheError, CacheService, CacheStats, CacheStore, Entry, ErrorKind, InvalidationBus,
    Lease, LeaseOutcome, Policy, ReadThrough, Selector,
};
use futures_core::stream::BoxStream;

/// What happened, in order.
type Journal = Arc<Mutex<Vec<String>>>;

fn note(journal: &Journal, what: impl Into<String>, fails: bool) -> Result<(), CacheError> {
    journal.lock().unwrap().push(what.into());
    match fails {
        true => Err(CacheError::new(ErrorKind::Unavailable, "away")),
        false => Ok(()),
    }
}

#[derive(Debug, Default)]
struct Store {
    journal: Journal,
    fails: bool,
}

#[async_trait]
impl CacheStore for Store {
    fn peek(&self, _key: &str) -> Option<Entry> {
        None
    }

    async fn fetch(&self, _key: &str) -> Result<Option<Entry>, CacheError> {
        Ok(None)
    }

    async fn fetch_many(&self, keys: &[String]) -> Result<Vec<Option<Entry>>, CacheError> {
        Ok(vec![None; keys.len()])
    }

    async fn store(&self, key: &str, _entry: Entry) -> Result<(), CacheError> {
        note(&self.journal, format!("store {key}"), self.fails)
    }

    async fn store_many(&self, _entries: Vec<(String, Entry)>) -> Result<(), CacheError> {
        Ok(())
    }

    async fn remove(&self, _what: &Selector) -> Result<Option<u64>, CacheError> {
        note(&self.journal, "remove", self.fails)?;
        Ok(Some(7))
    }

    async fn lease(&self, _key: &str, _ttl: Duration) -> Result<LeaseOutcome, CacheError> {
        Ok(LeaseOutcome::Held { retry_after: Duration::ZERO })
    }

    async fn fill(&self, _lease: Lease, _entry: Entry) -> Result<bool, CacheError> {
        Ok(false)
    }

    async fn abandon(&self, _lease: Lease) -> Result<(), CacheError> {
        Ok(())
    }

    fn stats(&self) -> CacheStats {
        CacheStats::default()
    }
}

/// A store that knows its bus: both changes are told in one go.
#[derive(Debug)]
struct Knowing(Store);

#[async_trait]
impl CacheStore for Knowing {
    fn peek(&self, key: &str) -> Option<Entry> {
        self.0.peek(key)
    }

    async fn fetch(&self, key: &str) -> Result<Option<Entry>, CacheError> {
        self.0.fetch(key).await
    }

    async fn fetch_many(&self, keys: &[String]) -> Result<Vec<Option<Entry>>, CacheError> {
        self.0.fetch_many(keys).await
    }

    async fn store(&self, key: &str, entry: Entry) -> Result<(), CacheError> {
        self.0.store(key, entry).await
    }

    async fn store_many(&self, entries: Vec<(String, Entry)>) -> Result<(), CacheError> {
        self.0.store_many(entries).await
    }

    async fn remove(&self, what: &Selector) -> Result<Option<u64>, CacheError> {
        self.0.remove(what).await
    }

    async fn remove_and_tell(
        &self,
        _what: &Selector,
        bus: &dyn InvalidationBus,
    ) -> Result<Option<u64>, CacheError> {
        assert!(bus.as_any().is_some_and(<dyn Any>::is::<Bus>));
        note(&self.0.journal, "remove and tell", false).map(|()| None)
    }

    async fn store_and_tell(
        &self,
        _key: &str,
        _entry: Entry,
        bus: &dyn InvalidationBus,
    ) -> Result<(), CacheError> {
        assert!(bus.as_any().is_some_and(<dyn Any>::is::<Bus>));
        note(&self.0.journal, "store and tell", false)
    }

    fn tells_with(&self, bus: &dyn InvalidationBus) -> bool {
        bus.as_any().is_some_and(<dyn Any>::is::<Bus>)
    }

    fn call_timeout(&self) -> Option<Duration> {
        Some(Duration::from_secs(7))
    }

    async fn lease(&self, key: &str, ttl: Duration) -> Result<LeaseOutcome, CacheError> {
        self.0.lease(key, ttl).await
    }

    async fn fill(&self, lease: Lease, entry: Entry) -> Result<bool, CacheError> {
        self.0.fill(lease, entry).await
    }

    async fn abandon(&self, lease: Lease) -> Result<(), CacheError> {
        self.0.abandon(lease).await
    }

    fn stats(&self) -> CacheStats {
        self.0.stats()
    }
}

#[derive(Debug, Default)]
struct Bus {
    journal: Journal,
    fails: bool,
}

#[async_trait]
impl InvalidationBus for Bus {
    async fn publish(&self, what: &Selector) -> Result<(), CacheError> {
        note(&self.journal, format!("tell {what:?}"), self.fails)
    }

    fn subscribe(&self) -> BoxStream<'static, BusEvent> {
        Box::pin(futures_util::stream::pending())
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

fn pair() -> (Store, Bus) {
    let store = Store::default();
    let bus = Bus { journal: Arc::clone(&store.journal), ..Bus::default() };
    (store, bus)
}

fn entry() -> Entry {
    Entry::encode(&1, &Policy::default()).unwrap()
}

#[tokio::test]
async fn a_change_is_told_after_it_has_been_done() {
    let (store, bus) = pair();
    let what = Selector::Prefix("org:".to_owned());
    assert_eq!(store.remove_and_tell(&what, &bus).await.unwrap(), Some(7));
    store.store_and_tell("k", entry(), &bus).await.unwrap();
    let told = ["remove", "tell Prefix(\"org:\")", "store k", "tell Keys([\"k\"])"];
    assert_eq!(*store.journal.lock().unwrap(), told);
}

#[tokio::test]
async fn what_was_not_done_is_not_told() {
    let (mut store, bus) = pair();
    store.fails = true;
    assert!(store.remove_and_tell(&Selector::All, &bus).await.is_err());
    assert!(store.store_and_tell("k", entry(), &bus).await.is_err());
    assert_eq!(*store.journal.lock().unwrap(), ["remove", "store k"]);
}

#[tokio::test]
async fn what_was_not_told_is_an_error() {
    let (store, mut bus) = pair();
    bus.fails = true;
    assert!(store.remove_and_tell(&Selector::All, &bus).await.is_err());
    assert!(store.store_and_tell("k", entry(), &bus).await.is_err());
    assert_eq!(store.journal.lock().unwrap().len(), 4);
}

#[tokio::test]
async fn a_store_that_knows_the_bus_does_both_through_every_wrapper() {
    let (store, bus) = pair();
    assert!(!store.tells_with(&bus) && store.call_timeout().is_none());
    let journal = Arc::clone(&store.journal);
    let store: Box<dyn CacheStore> = Box::new(Arc::new(Knowing(store)));
    let service: Arc<dyn CacheService> = Arc::new(ReadThrough::new(store));
    assert!(service.tells_with(&bus));
    assert_eq!(service.call_timeout(), Some(Duration::from_secs(7)));
    service.remove_and_tell(&Selector::All, &bus).await.unwrap();
    service.store_and_tell("k", entry(), &bus).await.unwrap();
    assert_eq!(*journal.lock().unwrap(), ["remove and tell", "store and tell"]);
    assert_eq!(service.stats().invalidations, 1);
    let error = service.remove_and_tell(&Selector::key(""), &bus).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidKey);
    let error = service.store_and_tell("", entry(), &bus).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidKey);
}

/// A load that was under way is not joined by whoever comes after.
#[tokio::test]
async fn a_change_that_is_told_detaches_loads_in_flight() {
    use cache_core::CacheServiceExt;

    let (store, bus) = pair();
    let cache = ReadThrough::new(store);
    let policy = Policy::default().single_flight_across_nodes(false);
    for round in 0..2 {
        let (open, opened) = tokio::sync::oneshot::channel::<()>();
        let (begun, beginning) = tokio::sync::oneshot::channel::<()>();
        let old = tokio::spawn({
            let (cache, policy) = (cache.clone(), policy.clone());
            async move {
                let load = || async move {
                    begun.send(()).unwrap();
                    opened.await.map(|()| 1)
                };
                *cache.get_or_load("k", policy, load).await.unwrap()
            }
        });
        beginning.await.unwrap();
        match round {
            0 => drop(cache.remove_and_tell(&Selector::All, &bus).await.unwrap()),
            _ => cache.store_and_tell("k", entry(), &bus).await.unwrap(),
        }
        let load = || async { Ok::<_, std::io::Error>(2) };
        assert_eq!(*cache.get_or_load("k", &policy, load).await.unwrap(), 2);
        open.send(()).unwrap();
        assert_eq!(old.await.unwrap(), 1);
    }
}
