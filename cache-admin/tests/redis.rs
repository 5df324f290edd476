//! The API over Redis: two tiers, a bus, and what health says when Redis goes and comes back.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod harness;

use std::time::Duration;

use cache_admin::{AdminRouter, Part};
use cache_services::{CacheServiceExt, ConcurrencyService, LockErrorKind, LockOptions, Policy};
use cache_testkit::{RedisServer, eventually, eventually_async};
use harness::{ALL, READER, VALUES, WRITER, admin, get, on_redis, post};
use serde_json::{Value, json};

/// Waits until the near tier is served.
async fn in_service(services: &cache_services::CacheServices) {
    eventually(|| services.tier_stats().is_some_and(|tiers| tiers.near_served)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_is_held_in_both_tiers_each_with_its_own_time() {
    let server = RedisServer::start();
    let (one, other) = (on_redis(&server).await, on_redis(&server).await);
    in_service(&one).await;
    in_service(&other).await;
    let router = admin(&one).build();
    let policy = Policy::ttl(Duration::from_secs(60)).local_ttl(Duration::from_secs(5));
    one.cache().set("org:acme", &json!({"plan": "gold"}), policy).await.unwrap();

    let entry = get(&router, VALUES, "/entries/org:acme").await.ok();
    let ttl = |tier: &str| entry[tier]["ttl_ms"].as_u64().unwrap();
    assert!(ttl("near") <= 5_000 && (5_001..=60_000).contains(&ttl("far")), "{entry}");
    assert_eq!((&entry["near"]["served"], &entry["value"]["plan"]), (&json!(true), &json!("gold")));

    // Elsewhere it is in Redis alone, and looking does not change that.
    let elsewhere = admin(&other).build();
    for _ in 0..2 {
        let entry = get(&elsewhere, READER, "/entries/org:acme").await.ok();
        assert!(entry["near"].is_null() && entry["far"]["state"] == "fresh", "{entry}");
    }
    assert_eq!(other.cache().stats().misses + other.cache().stats().remote_hits, 0);

    // An invalidation through the API of one node is one of all nodes.
    other.cache().get::<Value>("org:acme").await.unwrap().unwrap();
    post(&router, WRITER, "/invalidate", r#"{"prefix": "org:"}"#).await.ok();
    eventually_async(async || get(&elsewhere, READER, "/entries/org:acme").await.status == 404)
        .await;

    // Written by others: JSON without a header.
    server.command(&["SET", "cache:foreign", r#"{"plan": "silver"}"#]);
    let foreign = get(&router, VALUES, "/entries/foreign").await.ok();
    assert_eq!(
        (&foreign["value_format"], &foreign["value"]["plan"]),
        (&json!("json"), &json!("silver"))
    );
    one.shutdown().await;
    other.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stats_tell_of_tiers_and_connections() {
    let server = RedisServer::start();
    let services = on_redis(&server).await;
    in_service(&services).await;
    let router = admin(&services).build();
    services.cache().set("k", &1, None).await.unwrap();
    assert_eq!(services.cache().get::<u64>("none").await.unwrap(), None);
    let stats = get(&router, READER, "/stats").await.ok();
    let tiers = &stats["tiers"];
    assert_eq!((&tiers["bus_up"], &tiers["near_served"]), (&json!(true), &json!(true)));
    assert_eq!((&tiers["far_open"], &tiers["far_reads"]), (&json!(false), &json!(1)));
    let calls: u64 = tiers["far_latency"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["calls"].as_u64().unwrap())
        .sum();
    // The write, and the read.
    assert_eq!(calls, 2, "{tiers}");
    assert_eq!(stats["redis"]["state"], "up");
    assert!(stats["redis"]["open"].as_u64().unwrap() > 0);
    services.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_fails_while_redis_is_away_and_heals_without_any_traffic() {
    let server = RedisServer::start();
    let services = on_redis(&server).await;
    in_service(&services).await;
    let router = admin(&services).build();
    let tolerant = [Part::Near, Part::Far, Part::Bus, Part::Breaker];
    let tolerant = tolerant.into_iter().fold(admin(&services), AdminRouter::tolerate);
    let tolerant = tolerant.build();
    let half = admin(&services).tolerate(Part::Far).tolerate(Part::Breaker).build();
    let open = admin(&services).open_health().build();
    assert_eq!(get(&router, READER, "/health").await.ok()["status"], "ok");
    services.cache().set("k", &1, None).await.unwrap();

    server.stop();
    eventually_async(async || get(&router, READER, "/health").await.status == 503).await;
    // The breaker opens with calls that fail.
    for _ in 0..10 {
        let _ = services.cache().get::<u64>("other").await;
    }
    eventually_async(async || {
        let health = get(&router, READER, "/health").await.json();
        ["near", "far", "bus", "breaker"].iter().all(|part| health[part]["status"] == "failing")
    })
    .await;
    let health = get(&router, READER, "/health").await.json();
    assert_eq!(
        (&health["status"], &health["breaker"]["far_open"]),
        (&json!("failing"), &json!(true))
    );
    assert!(health["far"]["fault"].as_str().unwrap().len() > 5, "{health}");
    assert_eq!(get(&tolerant, READER, "/health").await.ok()["status"], "degraded");
    assert_eq!(get(&half, READER, "/health").await.status, 503);
    // Who may not read learns that it fails, and not where Redis is and what became of it.
    let probed = get(&open, "", "/health").await;
    let failing = json!({"status": "failing"});
    let brief = json!({"status": "failing", "near": failing, "far": failing, "bus": failing, "breaker": failing});
    assert_eq!((probed.status.as_u16(), probed.json()), (503, brief));
    assert!(get(&open, READER, "/health").await.json()["far"]["fault"].is_string());

    // What could not reach Redis is an error, and so is a list of its locks.
    let refused = post(&router, WRITER, "/invalidate", r#"{"keys": ["k"]}"#).await;
    assert_eq!(refused.error(), (503, "unavailable".into()));
    assert_eq!(get(&router, READER, "/locks").await.error().0, 503);
    assert_eq!(get(&router, READER, "/entries/k").await.error().0, 503);
    let pending = get(&router, READER, "/health").await.json();
    assert_eq!(pending["replays_pending"], 1);

    server.restart();
    eventually_async(async || get(&router, READER, "/health").await.status == 200).await;
    let health = get(&router, READER, "/health").await.ok();
    assert_eq!((&health["status"], &health["breaker"]["far_open"]), (&json!("ok"), &json!(false)));
    services.shutdown().await;
    assert_eq!(get(&router, READER, "/health").await.status, 503, "it is shut down");
}

/// Nothing is owed that would be replayed, and nobody calls: health itself has to find out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_breaker_does_not_keep_an_idle_service_failing() {
    let server = RedisServer::start();
    let services = on_redis(&server).await;
    in_service(&services).await;
    let router = admin(&services).build();
    server.stop();
    for _ in 0..10 {
        let _ = services.cache().get::<u64>("other").await;
    }
    eventually(|| services.tier_stats().unwrap().far_open).await;
    server.restart();
    eventually_async(async || get(&router, READER, "/health").await.status == 200).await;
    services.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn locks_of_other_nodes_are_listed_and_taken_away() {
    let server = RedisServer::start();
    let (one, other) = (on_redis(&server).await, on_redis(&server).await);
    let router = admin(&one).build();
    let held = other.concurrency();
    let guard = held.acquire("billing:acme", &LockOptions::default()).await.unwrap();
    let second = held.acquire("audit", &LockOptions::default()).await.unwrap();
    let locks = get(&router, READER, "/locks").await.ok();
    let keys: Vec<_> = locks["locks"].as_array().unwrap().iter().map(|lock| &lock["key"]).collect();
    assert_eq!(keys, ["audit", "billing:acme"]);
    let fence = locks["locks"][1]["fence"].as_u64().unwrap();
    assert_eq!(fence, guard.fencing_token().0);
    assert!(fence < 1 << 53, "a script in a page can count so far");

    let release = "/locks/billing%3Aacme/release";
    let stale = json!({ "fence": fence - 1 }).to_string();
    assert_eq!(post(&router, ALL, release, &stale).await.error(), (409, "fence_mismatch".into()));
    assert!(guard.check().is_ok());
    post(&router, ALL, release, &json!({ "fence": fence }).to_string()).await.ok();
    assert_eq!(get(&router, READER, "/locks/billing:acme").await.error().0, 404);
    assert_eq!(guard.release().await.unwrap_err().kind(), LockErrorKind::LeaseLost);
    second.release().await.unwrap();
    one.shutdown().await;
    other.shutdown().await;
}
