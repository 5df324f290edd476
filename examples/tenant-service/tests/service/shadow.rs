//! Shadow mode answers from the database, and counts what the cache would have answered wrongly.

use std::time::Duration;

use cache_services::CacheServiceExt;
use cache_testkit::{RedisServer, eventually};
use serde_json::json;
use tenant_service::{Mode, Settings, ShadowCounts};

use crate::fleet::{BOUND, Fleet};

fn shadow(settings: &mut Settings) {
    settings.live.resolver = Mode::Shadow;
    settings.live.shadow_settle = Duration::from_millis(100);
}

fn counts(fleet: &Fleet, at: usize) -> ShadowCounts {
    fleet.instances[at].app().counts().shadow
}

#[tokio::test]
async fn a_difference_that_stays_is_counted_and_the_database_is_what_is_answered() {
    let fleet = Fleet::start(1, None, shadow).await;
    fleet.org(0, "acme").await;
    eventually(|| counts(&fleet, 0).compared == 1).await;
    assert_eq!(counts(&fleet, 0).differences, 0);
    // Behind the service's back: nobody tells the cache.
    fleet
        .database()
        .execute("UPDATE organisations SET plan = 'other' WHERE slug = 'acme'", [])
        .unwrap();
    assert_eq!(fleet.org(0, "acme").await["plan"], "other");
    eventually(|| counts(&fleet, 0).compared == 2).await;
    let found = counts(&fleet, 0);
    assert_eq!((found.differences, found.settled), (1, 0), "{found:?}");
    fleet.shutdown().await;
}

#[tokio::test]
async fn what_is_cached_and_cannot_be_read_is_a_difference() {
    let fleet = Fleet::start(1, None, shadow).await;
    let cache = fleet.instances[0].app().cache();
    cache.set("org:acme", "of another build", Duration::from_secs(60)).await.unwrap();
    assert_eq!(fleet.org(0, "acme").await["slug"], "acme");
    eventually(|| counts(&fleet, 0).compared == 1).await;
    let found = counts(&fleet, 0);
    assert_eq!((found.differences, found.failed), (1, 0), "{found:?}");
    fleet.org(0, "acme").await;
    eventually(|| counts(&fleet, 0).compared == 2).await;
    assert_eq!(counts(&fleet, 0).differences, 1, "it was removed, and loaded anew");
    fleet.shutdown().await;
}

#[tokio::test]
async fn what_changes_between_the_two_reads_is_no_difference() {
    let settle = BOUND + Duration::from_millis(500);
    let fleet = Fleet::start(3, Some(RedisServer::start()), |settings| {
        shadow(settings);
        settings.live.shadow_settle = settle;
    });
    let fleet = fleet.await;
    for round in 0..40_u32 {
        let plan = json!({ "plan": format!("plan-{round}") });
        let path = format!("/orgs/org-{:04}", 1 + round % 8);
        let slug = &path[6..];
        let (_, a, b, _) = tokio::join!(
            fleet.put(0, &path, plan.clone()),
            fleet.org(1, slug),
            fleet.org(2, slug),
            fleet.put(2, &path, plan.clone()),
        );
        assert_eq!((&a["slug"], &b["slug"]), (&json!(slug), &json!(slug)));
    }
    eventually(|| (1..3).all(|at| counts(&fleet, at).compared == 40)).await;
    for at in 1..3 {
        let found = counts(&fleet, at);
        assert_eq!((found.differences, found.failed), (0, 0), "{found:?}");
    }
    fleet.shutdown().await;
}

#[tokio::test]
async fn direct_asks_the_database_each_time_and_half_a_sample_compares_half() {
    let fleet = Fleet::start(1, None, |settings| settings.live.resolver = Mode::Direct).await;
    let before = fleet.queries();
    for _ in 0..10 {
        fleet.org(0, "acme").await;
    }
    assert_eq!(fleet.queries() - before, 10);
    fleet.shutdown().await;

    let fleet = Fleet::start(1, None, |settings| {
        shadow(settings);
        settings.live.shadow_sample = 0.5;
    });
    let fleet = fleet.await;
    for _ in 0..200 {
        fleet.org(0, "acme").await;
    }
    eventually(|| counts(&fleet, 0).compared + counts(&fleet, 0).skipped == 200).await;
    let compared = counts(&fleet, 0).compared;
    assert!((50..150).contains(&compared), "{compared}");
    fleet.shutdown().await;
}
