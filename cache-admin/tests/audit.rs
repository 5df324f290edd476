//! Every write leaves one audit event: who, what, and how it ended.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod harness;

use std::io;
use std::sync::{Arc, Mutex};

use cache_services::{CacheServiceExt, ConcurrencyService, LockOptions, WarmLoader, Warmer};
use cache_testkit::{RedisServer, poll_once};
use harness::{ALL, READER, VALUES, WRITER, admin, get, in_process, on_redis, post};
use serde_json::json;
use tracing_subscriber::fmt::MakeWriter;

/// What is written to it.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Log {
    /// Listens on this thread until the guard is dropped.
    fn listen(&self) -> tracing::subscriber::DefaultGuard {
        let subscriber =
            tracing_subscriber::fmt().with_writer(self.clone()).with_ansi(false).finish();
        tracing::subscriber::set_default(subscriber)
    }

    /// The audit events since the last call.
    fn events(&self) -> Vec<String> {
        let text = String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap();
        text.lines().filter(|line| line.contains("cache_admin::audit")).map(str::to_owned).collect()
    }

    #[track_caller]
    fn one(&self, parts: &[&str]) {
        let events = self.events();
        assert_eq!(events.len(), 1, "{events:?}");
        for part in parts {
            assert!(events[0].contains(part), "{part} is not in {events:?}");
        }
    }
}

#[tokio::test]
async fn every_write_says_who_did_what_and_how_it_ended() {
    let services = in_process().await;
    let loader = WarmLoader::new::<u64, _, _, _>("orgs", "org:", async |_| {
        Ok::<_, io::Error>(Default::default())
    });
    let warmer = Warmer::builder(services.cache()).loader(loader).build().unwrap();
    let router = admin(&services).warmer(warmer).build();
    services.cache().set("org:a", "v", None).await.unwrap();
    let guard = services.concurrency().acquire("l", &LockOptions::default()).await.unwrap();
    let fence = guard.fencing_token();
    let log = Log::default();
    let _listening = log.listen();

    post(&router, WRITER, "/invalidate", r#"{"keys": ["org:a", "b\nc"]}"#).await.ok();
    log.one(&[
        "INFO",
        r#"who="writer""#,
        r#"action="invalidate""#,
        "org:a",
        "b\\\\nc",
        "result=removed 1",
    ]);
    post(&router, ALL, "/invalidate", r#"{"prefix": "org:"}"#).await.ok();
    log.one(&[r#"who="all""#, "prefix", "org:", "result=removed 0"]);
    post(&router, ALL, "/clear", "").await.ok();
    log.one(&[r#"action="clear""#, r#"what="everything""#]);
    post(&router, ALL, "/warm", r#"{"keys": ["org:a"]}"#).await.ok();
    log.one(&[r#"action="warm""#, "org:a", "begun as run 1"]);
    post(&router, ALL, "/warm", r#"{"keys": ["user:a"]}"#).await.error();
    log.one(&["WARN", r#"action="warm""#, "invalid_request"]);
    let stale = json!({ "fence": fence.0 - 1 }).to_string();
    post(&router, ALL, "/locks/l/release", &stale).await.error();
    log.one(&["WARN", r#"action="release_lock""#, "fence_mismatch"]);
    post(&router, ALL, "/locks/l/release", &json!({ "fence": fence }).to_string()).await.ok();
    log.one(&["INFO", r#"action="release_lock""#, &fence.to_string(), "result=released"]);
    post(&router, VALUES, "/clear", "").await.error();
    log.one(&["WARN", r#"who="values""#, r#"action="refused""#, "/clear", "forbidden"]);
    let many: Vec<_> = (0..1_000).map(|key| format!("k{key}")).collect();
    post(&router, ALL, "/invalidate", &json!({ "keys": many }).to_string()).await.ok();
    log.one(&["k19", "980 more"]);
    let long = "€".repeat(300_000);
    for (body, cut) in [(json!({ "prefix": long }), 8), (json!({ "keys": [long] }), 7)] {
        let answer = post(&router, ALL, "/invalidate", &body.to_string()).await;
        let events = log.events();
        assert_eq!(events.len(), 1, "{}", answer.status);
        let named = events[0].matches('€').count();
        assert_eq!(named, 32 * 1_024 - cut, "the bound is of all that is said");
    }

    // Reads leave none, nor does who is not known; and no token ever stands in the log.
    for path in ["/stats", "/entries/k", "/locks"] {
        get(&router, READER, path).await;
        get(&router, "wrong", path).await;
    }
    assert!(log.events().is_empty());
    drop(guard);
}

#[tokio::test]
async fn a_write_whose_caller_goes_away_is_told_of_too() {
    let server = RedisServer::start();
    let services = on_redis(&server).await;
    let router = admin(&services).build();
    let log = Log::default();
    let _listening = log.listen();
    server.pause();
    // By hand: while this thread does nothing else, no budget runs out.
    let mut call = Box::pin(post(&router, ALL, "/clear", ""));
    assert!(poll_once(&mut call).is_pending());
    drop(call);
    server.resume();
    log.one(&["WARN", r#"who="all""#, r#"action="clear""#, "abandoned"]);
    services.shutdown().await;
}
