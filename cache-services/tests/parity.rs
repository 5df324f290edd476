//! P10: the same program gives the same answers on every backend.

// Helpers of tests fail the test, as the tests themselves do.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::HashMap;
use std::fmt::{Debug, Write};
use std::io;
use std::time::Duration;

use cache_services::{
    CacheError, CacheServiceExt, CacheServices, ConcurrencyServiceExt, MemoryBackend, Policy,
    TypedCache,
};

/// Everything the program was answered, line by line.
#[derive(Default)]
struct Transcript(String);

impl Transcript {
    fn note(&mut self, what: &str, answer: &impl Debug) {
        writeln!(self.0, "{what}: {answer:?}").unwrap();
    }

    fn note_error<T>(&mut self, what: &str, answer: Result<T, CacheError>) {
        let error = answer.map(drop).expect_err(what);
        self.note(what, &(error.kind(), error.to_string()));
    }
}

async fn program(memory: MemoryBackend) -> Result<String, Box<dyn std::error::Error>> {
    let services = CacheServices::builder().memory(memory).build().await?;
    let cache = services.cache();
    let mut said = Transcript::default();
    let minute = Duration::from_secs(60);

    said.note("nothing there", &cache.get::<String>("org:acme").await?);
    cache.set("org:acme", "Acme", minute).await?;
    cache.set_many(&[("org:b", "B"), ("org:c", "C"), ("org:b", "B2")], None).await?;
    let names = cache.get_many::<String>(&["org:c", "org:none", "org:b", "org:c"]).await?;
    said.note("many", &names);
    said.note("shared", &cache.get_arc::<String>("org:acme").await?);
    said.note("empty list", &cache.get_many::<String>(&[]).await?);

    let load = || async { Ok::<_, io::Error>("loaded".to_owned()) };
    said.note("hit", &cache.get_or_load("org:acme", minute, load).await?);
    said.note("loaded", &cache.get_or_load("org:d", Policy::ttl(minute).jitter(0.5), load).await?);
    let none = || async { Ok::<Option<String>, io::Error>(None) };
    said.note("absent", &cache.get_or_load_opt::<String, _, _, _>("org:e", minute, none).await?);
    let optional = || async { Ok::<_, io::Error>(Some("not called".to_owned())) };
    said.note("still absent", &cache.get_or_load_opt("org:e", minute, optional).await?);
    said.note("contains absent", &cache.contains("org:e").await?);
    said.note("loaded over absent", &cache.get_or_load("org:e", minute, load).await?);
    let many = |missing: Vec<String>| async move {
        let known = missing.into_iter().filter(|key| key != "org:none");
        Ok::<_, io::Error>(known.map(|key| (key.clone(), key)).collect::<HashMap<_, _>>())
    };
    let keys = ["org:acme", "org:x", "org:none", "org:x"];
    said.note("load many", &cache.get_or_load_many(&keys, minute, many).await?);

    let fail = || async { Err::<String, _>(io::Error::other("database down")) };
    said.note_error("load fails", cache.get_or_load("org:f", minute, fail).await);
    said.note_error("other type", cache.get::<u64>("org:acme").await);
    said.note_error("empty key", cache.get::<u64>("").await);
    said.note_error("long key", cache.set(&"k".repeat(1_025), &1, None).await);
    cache.set("org:zero", "gone", Duration::ZERO).await?;
    said.note("zero TTL", &cache.get::<String>("org:zero").await?);
    cache.set("org:long", "kept", Duration::MAX).await?;
    said.note("endless TTL", &cache.get::<String>("org:long").await?);

    cache.invalidate("org:acme").await?;
    cache.invalidate("org:never-there").await?;
    said.note("invalidated", &cache.get::<String>("org:acme").await?);
    let users = TypedCache::<u32>::new(services.cache(), "user").with_policy(minute);
    users.set("1", &1).await?;
    cache.invalidate_prefix("org:").await?;
    said.note("prefix", &cache.get_many::<String>(&["org:b", "org:c", "org:x"]).await?);
    said.note("other prefix", &users.get("1").await?);
    cache.clear().await?;
    said.note("cleared", &users.get("1").await?);

    let summed = services.concurrency().with_lock("sum", async { 40 + 2 }).await?;
    said.note("under a lock", &summed);

    let stats = cache.stats();
    said.note("lookups", &(stats.local_hits, stats.remote_hits, stats.misses));
    said.note("loads", &(stats.loads, stats.load_failures, stats.negative_hits));
    said.note("rest", &(stats.invalidations, stats.errors, stats.entries));
    Ok(said.0)
}

#[tokio::test]
async fn p10_quick_and_moka_answer_alike() {
    let quick = program(MemoryBackend::Quick).await.unwrap();
    let moka = program(MemoryBackend::Moka).await.unwrap();
    assert_eq!(quick, moka);
    assert!(quick.contains(r#"many: [Some("C"), None, Some("B2"), Some("C")]"#), "{quick}");
    assert!(quick.contains(r#"loaded over absent: "loaded""#), "{quick}");
}
