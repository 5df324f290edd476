//! Every endpoint, over services in process.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod harness;

use std::io;
use std::time::Duration;

use axum::Router;
use cache_admin::{AdminRouter, Part};
use cache_services::{
    CacheServiceExt, CacheServices, ConcurrencyService, LockErrorKind, LockOptions, MemoryBackend,
    Policy, WarmLoader, Warmer,
};
use cache_testkit::{Gate, eventually_async};
use harness::{ALL, READER, VALUES, WRITER, admin, auth, get, in_process, post};
use serde_json::json;

#[tokio::test]
async fn stats_are_the_caches_own() {
    let services = in_process().await;
    let router = admin(&services).build();
    let cache = services.cache();
    cache.set("k", &1, None).await.unwrap();
    for key in ["k", "k", "k", "none"] {
        let _ = cache.get::<u64>(key).await.unwrap();
    }
    let stats = get(&router, READER, "/stats").await.ok();
    assert_eq!(stats["cache"]["local_hits"], 3);
    assert_eq!(stats["cache"]["misses"], 1);
    assert_eq!(stats["cache"]["hit_ratio"], 0.75);
    assert_eq!(stats["cache"]["entries"], 1);
    assert!(stats["tiers"].is_null() && stats["redis"].is_null());
    let wall = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis() as u64;
    assert!(wall.abs_diff(stats["time_ms"].as_u64().unwrap()) < 10_000);
}

#[tokio::test]
async fn an_entry_says_where_it_is_held_and_for_how_long() {
    for memory in [MemoryBackend::Quick, MemoryBackend::Moka] {
        let services = CacheServices::builder().memory(memory).build().await.unwrap();
        let router = admin(&services).build();
        let cache = services.cache();
        let policy = Policy::ttl(Duration::from_secs(60)).stale_for(Duration::from_secs(30));
        cache.set("org:acme", &json!({"plan": "gold"}), policy).await.unwrap();
        let entry = get(&router, READER, "/entries/org:acme").await.ok();
        assert_eq!(entry["key"], "org:acme");
        assert_eq!(entry["near"]["state"], "fresh");
        assert_eq!(entry["near"]["bytes"], r#"{"plan":"gold"}"#.len());
        assert_eq!(entry["near"]["absent"], false);
        let ttl = entry["near"]["ttl_ms"].as_u64().unwrap();
        assert!((50_000..=60_000).contains(&ttl), "{entry}");
        let servable = entry["near"]["servable_ms"].as_u64().unwrap();
        assert!((80_000..=90_000).contains(&servable), "{entry}");
        assert!(entry["far"].is_null() && entry.get("value").is_none(), "{entry}");

        let entry = get(&router, VALUES, "/entries/org:acme").await.ok();
        assert_eq!(
            (&entry["value_format"], &entry["value"]["plan"]),
            (&json!("json"), &json!("gold"))
        );
        let stats = cache.stats();
        assert_eq!((stats.local_hits, stats.misses), (0, 0), "a look is no lookup");
        assert_eq!(get(&router, READER, "/entries/none").await.error(), (404, "not_found".into()));
    }
}

#[tokio::test]
async fn entries_say_that_there_is_no_value_and_that_they_never_expire() {
    let services = in_process().await;
    let router = admin(&services).build();
    let cache = services.cache();
    let none = async || Ok::<_, io::Error>(None::<u64>);
    cache.get_or_load_opt("gone", Duration::from_secs(60), none).await.unwrap();
    let entry = get(&router, ALL, "/entries/gone").await.ok();
    assert_eq!(entry["near"]["absent"], true);
    assert!(entry.get("value").is_none());
    cache.set("ever", &u64::MAX, Duration::MAX).await.unwrap();
    let answer = get(&router, ALL, "/entries/ever").await;
    assert!(answer.text.contains("18446744073709551615"), "no digit is lost: {}", answer.text);
    assert!(answer.json()["near"]["ttl_ms"].is_null());
}

#[tokio::test]
async fn any_key_can_be_looked_up_and_invalidated() {
    let services = in_process().await;
    let router = admin(&services).build();
    let cache = services.cache();
    let long = "ключ/".repeat(113);
    for key in [".", "..", "a/../b", "a/b//c", "/", "a b+c%2F", "ü?#&\0\u{7f}", "*:[x]", &long] {
        cache.set(key, "v", None).await.unwrap();
        let encoded: String = key.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let entry = get(&router, READER, &format!("/entries/{encoded}")).await.ok();
        assert_eq!(entry["key"], key);
        let body = json!({ "keys": [key] }).to_string();
        assert_eq!(post(&router, WRITER, "/invalidate", &body).await.ok(), json!({"removed": 1}));
        assert!(!cache.contains(key).await.unwrap());
    }
    cache.set("a/b", "v", None).await.unwrap();
    assert_eq!(get(&router, READER, "/entries/a/b").await.ok()["key"], "a/b");
}

#[tokio::test]
async fn invalidation_takes_keys_a_prefix_or_everything() {
    let services = in_process().await;
    let router = admin(&services).build();
    let cache = services.cache();
    let left = async |body: &str, path: &str| {
        for key in ["org:a", "org:b", "org*", "user:a"] {
            cache.set(key, "v", None).await.unwrap();
        }
        let removed = post(&router, WRITER, path, body).await.ok()["removed"].as_u64().unwrap();
        (removed, services.cache().stats().entries)
    };
    assert_eq!(left(r#"{"keys": ["org:a", "none", "org:a"]}"#, "/invalidate").await, (1, 3));
    assert_eq!(left(r#"{"prefix": "org:"}"#, "/invalidate").await, (2, 2));
    assert_eq!(left(r#"{"prefix": "org*"}"#, "/invalidate").await, (1, 3), "no pattern");
    assert_eq!(left(r#"{"all": true}"#, "/invalidate").await, (4, 0));
    assert_eq!(left("", "/clear").await, (4, 0));
    assert_eq!(left("{}", "/clear").await, (4, 0));
}

#[tokio::test]
async fn locks_are_seen_and_taken_away_with_their_fence_alone() {
    let services = in_process().await;
    let router = admin(&services).build();
    let locks = services.concurrency();
    assert_eq!(get(&router, READER, "/locks").await.ok(), json!({"locks": [], "more": false}));
    assert_eq!(get(&router, READER, "/locks/none").await.error(), (404, "not_found".into()));
    // A key that ends like the action.
    for (key, path) in [("billing:acme", "billing:acme"), ("a/release", "a%2Frelease")] {
        let options = LockOptions::default();
        let guard = locks.acquire(key, &options).await.unwrap();
        let lock = get(&router, READER, &format!("/locks/{path}")).await.ok();
        let fence = guard.fencing_token().0;
        assert_eq!((&lock["key"], &lock["fence"]), (&json!(key), &json!(fence)));
        assert!(lock["remaining_ms"].as_u64().unwrap() <= 30_000);
        assert_eq!(lock["waiters"], 0);
        assert_eq!(get(&router, READER, "/locks").await.ok()["locks"][0]["key"], key);

        let release = format!("/locks/{path}/release");
        let stale = json!({ "fence": fence - 1 }).to_string();
        let refused = post(&router, WRITER, &release, &stale).await;
        assert_eq!(refused.error(), (409, "fence_mismatch".into()));
        assert!(guard.check().is_ok(), "the holder has it still");
        let right = json!({ "fence": fence }).to_string();
        assert_eq!(post(&router, WRITER, &release, &right).await.ok(), json!({"released": true}));
        assert_eq!(guard.check().unwrap_err().kind(), LockErrorKind::LeaseLost);
        assert_eq!(post(&router, WRITER, &release, &right).await.error().0, 409);
    }
    let elsewhere = post(&router, WRITER, "/locks/a/b", r#"{"fence": 1}"#).await;
    assert_eq!(elsewhere.error(), (404, "not_found".into()));
}

#[tokio::test]
async fn health_in_process_is_that_of_the_memory() {
    let router = admin(&in_process().await).build();
    let answer = get(&router, READER, "/health").await;
    assert_eq!(answer.status, 200);
    let health = answer.json();
    assert_eq!((&health["status"], &health["near"]["status"]), (&json!("ok"), &json!("ok")));
    for part in ["far", "bus", "breaker"] {
        assert_eq!(health[part]["status"], "off");
    }
}

#[tokio::test]
async fn health_can_be_opened_for_probes_and_nothing_else_is() {
    let services = in_process().await;
    let router = AdminRouter::new(services, auth()).open_health().tolerate(Part::Bus).build();
    let (ok, off) = (json!({"status": "ok"}), json!({"status": "off"}));
    let brief = json!({"status": "ok", "near": ok, "far": off, "bus": off, "breaker": off});
    for token in ["", "wrong", WRITER] {
        assert_eq!(get(&router, token, "/health").await.ok(), brief, "{token}");
    }
    assert_eq!(get(&router, READER, "/health").await.ok()["near"]["entries"], 0);
    assert_eq!(get(&router, "", "/stats").await.error().0, 401);
    assert_eq!(post(&router, "", "/health", "").await.error().0, 405);
}

#[tokio::test]
async fn it_can_be_served_under_a_path() {
    let services = in_process().await;
    let app = Router::new().nest_service("/admin", admin(&services).build());
    services.cache().set("a/b", "v", None).await.unwrap();
    assert_eq!(get(&app, ALL, "/admin/entries/a%2Fb").await.ok()["key"], "a/b");
    assert_eq!(get(&app, "", "/admin/stats").await.error().0, 401);
    assert_eq!(get(&app, ALL, "/admin/nothing").await.error().0, 404);
    for page in ["/admin", "/admin/"] {
        assert!(get(&app, "", page).await.text.contains("<!doctype html>"), "{page}");
    }
    let guard = services.concurrency().acquire("l", &LockOptions::default()).await.unwrap();
    let fence = json!({ "fence": guard.fencing_token() }).to_string();
    post(&app, ALL, "/admin/locks/l/release", &fence).await.ok();
}

#[tokio::test]
async fn the_cache_can_be_warmed_up_and_progress_watched() {
    let services = in_process().await;
    let gate = Gate::new();
    let passed = gate.clone();
    let load = move |keys: Vec<String>| {
        let gate = passed.clone();
        async move {
            gate.pass().await;
            Ok::<_, io::Error>(keys.into_iter().map(|key| (key, 1)).collect())
        }
    };
    let loader = WarmLoader::new::<u64, _, _, _>("orgs", "org:", load)
        .keys(async || Ok::<_, io::Error>((0..250).map(|org| format!("org:{org}")).collect()));
    let warmer = Warmer::builder(services.cache()).loader(loader).concurrency(1).build().unwrap();
    let router = admin(&services).warmer(warmer).build();

    let begun = post(&router, WRITER, "/warm", r#"{"all": true}"#).await;
    assert_eq!(begun.status, 202);
    let begun = begun.json();
    assert_eq!((&begun["state"], &begun["cause"]), (&json!("running"), &json!("demand")));
    let path = format!("/warm/{}", begun["id"]);
    gate.reached().await;
    let running = get(&router, READER, &path).await.ok();
    assert_eq!((&running["total"], &running["done"]), (&json!(250), &json!(0)));
    gate.open();
    eventually_async(async || get(&router, READER, &path).await.ok()["state"] == "done").await;
    let done = get(&router, READER, &path).await.ok();
    assert_eq!(
        (&done["done"], &done["loaded"], &done["batches"]),
        (&json!(250), &json!(250), &json!(3))
    );

    let named = post(&router, WRITER, "/warm", r#"{"keys": ["org:x", "org:0"]}"#).await.ok();
    let path = format!("/warm/{}", named["id"]);
    eventually_async(async || get(&router, READER, &path).await.ok()["loaded"] == 1).await;
    post(&router, WRITER, "/warm", r#"{"loader": "orgs"}"#).await.ok();
    let overview = get(&router, READER, "/warm").await.ok();
    assert_eq!(overview["runs"].as_array().unwrap().len(), 3);
    assert_eq!(overview["loaders"][0]["name"], "orgs");

    for body in [
        r#"{"keys": []}"#,
        r#"{"keys": ["user:x"]}"#,
        r#"{"loader": "users"}"#,
        r#"{"all": false}"#,
    ] {
        let refused = post(&router, WRITER, "/warm", body).await;
        assert_eq!(refused.error(), (400, "invalid_request".into()), "{body}");
    }
    for path in ["/warm/99", "/warm/x", "/warm/-1"] {
        assert_eq!(get(&router, READER, path).await.error(), (404, "not_found".into()), "{path}");
    }
    let without = admin(&services).build();
    assert_eq!(
        post(&without, WRITER, "/warm", r#"{"all": true}"#).await.error(),
        (404, "no_warmer".into())
    );
}

#[tokio::test]
async fn metrics_are_text_for_prometheus() {
    let services = in_process().await;
    let router = admin(&services).build();
    assert_eq!(services.cache().get::<u64>("k").await.unwrap(), None);
    // Through the recorder that was installed: what this process records is there.
    metrics::counter!("cache_admin_test_total", "kind" => "a").increment(3);
    metrics::histogram!("cache_admin_test_seconds").record(0.003);
    let answer = get(&router, READER, "/metrics").await;
    assert!(answer.header("content-type").starts_with("text/plain; version=0.0.4"));
    assert!(answer.text.contains(r#"cache_admin_test_total{kind="a"} 3"#), "{}", answer.text);
    assert!(
        answer.text.contains(r#"cache_admin_test_seconds_bucket{le="0.005"} 1"#),
        "{}",
        answer.text
    );
    assert!(answer.text.contains("# TYPE cache_admin_test_seconds histogram"), "{}", answer.text);
    assert!(answer.text.contains("cache_operations_total{"), "{}", answer.text);
    // A second router uses the same recorder.
    let other = admin(&in_process().await).build();
    assert!(get(&other, READER, "/metrics").await.text.contains("cache_admin_test_total"));
}
