//! The admin API on its own port.

use std::time::Duration;

use cache_testkit::eventually;
use hyper::{Method, StatusCode};
use serde_json::json;
use tenant_service::Mode;
use tenant_service::client::Client;

use crate::fleet::{ADMIN_TOKEN, Fleet, TENANTS};

fn admin(fleet: &Fleet) -> Client {
    Client::new(fleet.instances[0].admin_addr(), 4, Duration::from_secs(10))
}

#[tokio::test]
async fn nothing_but_health_is_told_without_the_token() {
    let fleet = Fleet::alone().await;
    let admin = admin(&fleet);
    assert_eq!(admin.get("/health", &[]).await.unwrap().status, StatusCode::OK);
    for path in ["/stats", "/service", "/entries/org:acme", "/locks", "/metrics"] {
        for headers in [&[][..], &[("authorization", "Bearer wrong-token")]] {
            let answer = admin.get(path, headers).await.unwrap();
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{path}");
        }
        let public = fleet.get(0, path, &[("x-org-slug", "acme")]).await;
        assert_eq!(public.status, StatusCode::NOT_FOUND, "not on the port of the service: {path}");
    }
    fleet.shutdown().await;
}

#[tokio::test]
async fn an_operator_looks_invalidates_and_warms_up() {
    let fleet = Fleet::alone().await;
    let admin = admin(&fleet);
    let bearer = format!("Bearer {ADMIN_TOKEN}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let get = async |path| admin.get(path, &headers).await.unwrap().json();
    let post = async |path, body| admin.json(Method::POST, path, &headers, &body).await.unwrap();

    fleet.org(0, "acme").await;
    assert_eq!(get("/entries/org:acme").await["near"]["state"], "fresh");
    assert_eq!(get("/service").await["database_queries"], 1);
    let removed = post("/invalidate", json!({ "keys": ["org:acme"] })).await;
    assert_eq!(removed.status, StatusCode::OK);
    fleet.org(0, "acme").await;
    assert_eq!(get("/service").await["database_queries"], 2);

    assert_eq!(
        post("/warm", json!({ "loader": "organisations" })).await.status,
        StatusCode::ACCEPTED
    );
    let entries = || fleet.instances[0].app().cache().stats().entries;
    eventually(|| entries() >= u64::from(TENANTS) * 3).await;
    let before = fleet.queries();
    for n in 0..TENANTS {
        fleet.org(0, &tenant_service::seed::slug(n)).await;
    }
    assert_eq!(fleet.queries(), before, "all of them were there");
    fleet.shutdown().await;
}

#[tokio::test]
async fn prometheus_reads_the_librarys_figures_and_the_services_own() {
    let fleet = Fleet::start(1, None, |settings| settings.live.resolver = Mode::Shadow).await;
    fleet.org(0, "acme").await;
    eventually(|| fleet.instances[0].app().counts().shadow.compared == 1).await;
    let bearer = format!("Bearer {ADMIN_TOKEN}");
    let answer = admin(&fleet).get("/metrics", &[("authorization", &bearer)]).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK);
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    assert!(text.contains("cache_operations_total{cache=\"tenants\""), "{text}");
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("{name}: {text}")).trim().parse::<f64>().unwrap()
    };
    // Other tests of this process may have counted more.
    assert!(value("tenant_database_queries_total ") >= 1.0, "{text}");
    assert!(value("tenant_shadow_comparisons_total{result=\"same\"} ") >= 1.0, "{text}");
    assert!(value("tenant_upstream_exchanges_total ") >= 0.0, "{text}");
    assert!(value("tenant_tasks_under_way ") >= 0.0, "{text}");
    fleet.shutdown().await;
}
