//! Every figure that is published, on a real Redis: each event is caused, and read where Prometheus
//! would read it.

// Helpers of tests fail the test, as the tests themselves do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod scrape;

use std::time::Duration;

use cache_services::{
    CacheServiceExt, CacheServices, CacheServicesBuilder, ConcurrencyService,
    ConcurrencyServiceExt, LockOptions, Policy,
};
use cache_testkit::{Gate, Loads, RedisServer, eventually, eventually_async, poll_once};
use scrape::Watched;

const LASTING: Duration = Duration::from_secs(3_600);
const OPERATIONS: &str = "cache_operations_total";
const HEARD: &str = r#"cache_invalidations_total{source="bus"}"#;

fn on(server: &RedisServer) -> CacheServicesBuilder {
    CacheServices::builder().redis_url(server.url())
}

fn operations(operation: &str, result: &str) -> String {
    format!("{OPERATIONS}{{operation=\"{operation}\",result=\"{result}\"}}")
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_are_counted_by_result_and_measured_by_tier() {
    let server = RedisServer::start();
    let (ours, others) = (Watched::in_service(on(&server)).await, on(&server).build().await);
    let (cache, others) = (ours.services.cache(), others.unwrap().cache());
    others.set_many(&[("a", 1), ("b", 2)], LASTING).await.unwrap();
    // Writes are told, and not waited for: what is read before that is not kept near.
    eventually(|| ours.figure(HEARD) == 1.0).await;

    assert_eq!(cache.get("a").await.unwrap(), Some(1));
    // What was read far is near by then.
    assert_eq!(cache.get("a").await.unwrap(), Some(1));
    assert_eq!(cache.get_many::<u64>(&["a", "b", "none"]).await.unwrap(), [Some(1), Some(2), None]);
    cache.set_many(&[("c", 1), ("d", 2)], LASTING).await.unwrap();
    cache.invalidate_many(&["c", "d", "e"]).await.unwrap();
    cache.invalidate_prefix("a").await.unwrap();
    let scrape = ours.scrape();
    for (operation, result, count) in [
        ("get", "hit_near", 2.0),
        ("get", "hit_far", 2.0),
        ("get", "miss", 1.0),
        ("get", "error", 0.0),
        ("set", "ok", 2.0),
        ("set", "error", 0.0),
        ("remove", "ok", 4.0),
        ("remove", "error", 0.0),
    ] {
        let series = operations(operation, result);
        assert_eq!(scrape.figure(&series), count, "{series}");
    }
    assert_eq!(scrape.figure("cache_hit_ratio"), 0.8);
    // One for `a`, one for `b` and `none`.
    assert_eq!(scrape.figure(r#"cache_access_duration_seconds_count{tier="far"}"#), 2.0);
    assert!(scrape.figure(r#"cache_access_duration_seconds_sum{tier="far"}"#) > 0.0);

    server.stop();
    assert!(cache.get::<u64>("x").await.is_err());
    assert!(cache.get_many::<u64>(&["x", "y"]).await.is_err());
    assert!(cache.set("x", &1, LASTING).await.is_err());
    assert!(cache.invalidate("x").await.is_err());
    for (operation, count) in [("get", 3.0), ("set", 1.0), ("remove", 1.0)] {
        assert_eq!(ours.figure(&operations(operation, "error")), count, "{operation}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn loads_are_counted_by_how_they_end_and_measured() {
    let server = RedisServer::start();
    let ours = Watched::in_service(on(&server)).await;
    let (cache, loads, gate) = (ours.services.cache(), Loads::new(), Gate::new());

    // One that takes its time, which is real; another caller waits for it.
    let mut first = Box::pin(cache.get_or_load("k", LASTING, loads.gated(&gate, 1_u64)));
    assert!(poll_once(&mut first).is_pending());
    gate.reached().await;
    let mut second = Box::pin(cache.get_or_load("k", LASTING, loads.returning(2_u64)));
    assert!(poll_once(&mut second).is_pending());
    tokio::time::sleep(Duration::from_millis(30)).await;
    gate.open();
    assert_eq!((*first.await.unwrap(), *second.await.unwrap()), (1, 1));
    cache.get_or_load("f", LASTING, loads.failing::<u64>("no")).await.unwrap_err();

    // One that is over before it ends.
    let gate = Gate::new();
    let mut refused = Box::pin(cache.get_or_load("r", LASTING, loads.gated(&gate, 1_u64)));
    assert!(poll_once(&mut refused).is_pending());
    gate.reached().await;
    cache.invalidate("r").await.unwrap();
    gate.open();
    refused.await.unwrap();

    // One in the background of an answer past its time.
    let policy = Policy::ttl(Duration::from_millis(20)).stale_for(LASTING);
    cache.set("s", &1_u64, policy.clone()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(40)).await;
    assert_eq!(*cache.get_or_load("s", policy, loads.returning(2_u64)).await.unwrap(), 1);
    eventually(|| ours.figure(r#"cache_loads_total{result="ok"}"#) == 3.0).await;

    let scrape = ours.scrape();
    for (series, count) in [
        (r#"cache_loads_total{result="error"}"#, 1.0),
        ("cache_coalesced_total", 1.0),
        ("cache_fills_refused_total", 1.0),
        ("cache_stale_served_total", 1.0),
        ("cache_load_duration_seconds_count", 4.0),
    ] {
        assert_eq!(scrape.figure(series), count, "{series}");
    }
    let shorter = scrape.figure(r#"cache_load_duration_seconds_bucket{le="0.025"}"#);
    assert!(shorter <= 3.0, "one took 30 ms: {scrape:#?}");
    assert!(scrape.figure("cache_load_duration_seconds_sum") >= 0.03 * 0.92);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_and_what_is_told_of_it() {
    let server = RedisServer::start();
    let ours = Watched::in_service(on(&server)).await;
    let others = Watched::in_service(on(&server)).await;
    let (cache, theirs) = (ours.services.cache(), others.services.cache());
    for n in 0..10 {
        cache.set(&format!("key:{n}"), &"x".repeat(98), LASTING).await.unwrap();
    }
    let scrape = ours.scrape();
    assert_eq!(scrape.figure("cache_entries"), 10.0);
    assert_eq!(scrape.figure("cache_memory_usage_bytes"), 10.0 * (5.0 + 100.0));
    theirs.invalidate("key:0").await.unwrap();
    eventually(|| ours.figure(HEARD) == 1.0).await;
    assert_eq!(others.figure(r#"cache_invalidations_total{source="local"}"#), 1.0);
    let scrape = ours.scrape();
    assert_eq!(scrape.figure("cache_entries"), 9.0);
    assert_eq!(scrape.figure(r#"cache_invalidations_total{source="local"}"#), 0.0);
    assert_eq!(scrape.figure("cache_memory_usage_bytes"), 9.0 * 105.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_seen_and_its_end() {
    let server = RedisServer::start();
    let ours = Watched::in_service(on(&server)).await;
    let cache = ours.services.cache();
    // The first heartbeat includes the connection; one more is a second later.
    let well = |lag: f64| (0.0..0.5).contains(&lag);
    eventually(|| well(ours.figure("cache_bus_lag_seconds"))).await;
    let scrape = ours.scrape();
    assert_eq!(scrape.figure("cache_bus_up"), 1.0);
    for series in [
        "cache_replay_queue_depth",
        r#"cache_breaker_open{subsystem="far"}"#,
        r#"cache_breaker_open{subsystem="bus"}"#,
    ] {
        assert_eq!(scrape.figure(series), 0.0, "{series}");
    }

    server.stop();
    assert!(cache.invalidate_many(&["a", "b"]).await.is_err());
    for _ in 0..10 {
        assert!(cache.get::<u64>("x").await.is_err());
    }
    eventually(|| ours.figure("cache_bus_up") == 0.0).await;
    let scrape = ours.scrape();
    assert_eq!(scrape.figure("cache_replay_queue_depth"), 2.0);
    assert_eq!(scrape.figure(r#"cache_breaker_open{subsystem="far"}"#), 1.0);
    eventually(|| ours.figure("cache_bus_lag_seconds") > 1.0).await;

    server.restart();
    eventually_async(async || {
        let _ = cache.get::<u64>("x").await;
        let scrape = ours.scrape();
        scrape.figure("cache_bus_up") == 1.0
            && well(scrape.figure("cache_bus_lag_seconds"))
            && scrape.figure("cache_replay_queue_depth") == 0.0
            && scrape.figure(r#"cache_breaker_open{subsystem="far"}"#) == 0.0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn locks_are_counted_by_how_they_end_and_measured() {
    let server = RedisServer::start();
    for builder in [CacheServices::builder(), on(&server)] {
        let ours = Watched::start(builder).await;
        let locks = ours.services.concurrency();
        let brief = LockOptions::default().wait(Duration::from_millis(20));
        let guard = locks.acquire("k", &LockOptions::default()).await.unwrap();
        assert!(locks.acquire("k", &brief).await.is_err());
        assert!(locks.try_acquire("k", &brief).await.unwrap().is_none());
        assert!(locks.force_release("k", guard.fencing_token()).await.unwrap());
        assert!(guard.release().await.is_err());
        // In process one of sixteen is measured.
        for n in 0..100 {
            locks.with_lock(&format!("l{n}"), async {}).await.unwrap();
        }
        locks.shutdown().await;
        assert!(locks.acquire("k", &brief).await.is_err());
        let scrape = ours.scrape();
        for (result, count) in [
            ("acquired", 101.0),
            ("timeout", 1.0),
            ("held", 1.0),
            ("unavailable", 1.0),
            ("lost", 0.0),
        ] {
            let series = format!("lock_acquire_total{{result=\"{result}\"}}");
            assert_eq!(scrape.figure(&series), count, "{series}");
        }
        assert_eq!(scrape.figure("lock_lease_lost_total"), 1.0);
        for series in ["lock_wait_seconds", "lock_hold_seconds"] {
            let count = scrape.figure(&format!("{series}_count"));
            assert!((1.0..=101.0).contains(&count), "{series}: {count}");
        }
    }
}

#[tokio::test]
async fn near_hits_are_sampled_and_handed_over_once() {
    let ours = Watched::start(CacheServices::builder()).await;
    let cache = ours.services.cache();
    cache.set("k", &1_u64, LASTING).await.unwrap();
    for _ in 0..200_000 {
        assert!(cache.get_arc::<u64>("k").await.unwrap().is_some());
    }
    let near = r#"cache_access_duration_seconds_count{tier="near"}"#;
    let measured = ours.figure(near);
    assert!((100.0..400.0).contains(&measured), "{measured} of 200,000");
    assert_eq!(ours.figure(near), measured, "handed over again");
    assert_eq!(ours.figure(&operations("get", "hit_near")), 200_000.0, "these are all counted");
    let quick = ours.figure(r#"cache_access_duration_seconds_bucket{le="0.00001",tier="near"}"#);
    assert!(quick > measured / 2.0, "{quick} of {measured} took less than 10 µs");
}

#[tokio::test]
async fn a_process_by_itself_tells_of_no_bus_and_of_no_ratio_before_the_first_lookup() {
    let ours = Watched::start(CacheServices::builder()).await;
    let scrape = ours.scrape();
    for absent in ["cache_bus_", "cache_breaker_", "cache_replay_", "cache_hit_ratio"] {
        assert!(!scrape.figures.keys().any(|series| series.starts_with(absent)), "{absent}");
    }
    ours.services.cache().get::<u64>("k").await.unwrap();
    assert_eq!(ours.figure("cache_hit_ratio"), 0.0);
}

#[tokio::test]
async fn services_are_called_what_they_are_named_or_their_namespace() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let builder = CacheServices::builder;
    for (builder, name) in [
        (builder(), "cache"),
        (builder().namespace("billing"), "billing"),
        (builder().namespace("billing").name("orgs"), "orgs"),
    ] {
        let services = builder.build().await.unwrap();
        metrics::with_local_recorder(&recorder, || services.publish_metrics());
        let series = format!("cache_entries{{cache=\"{name}\"}} 0");
        assert!(recorder.handle().render().contains(&series), "{series}");
    }
    let refused = builder().name("two words").build().await.unwrap_err();
    assert!(refused.to_string().contains("name (CACHE_NAME)"), "{refused}");
}
