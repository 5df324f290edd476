//! Organisations are found by UUID, slug and host, once per key and fleet.

use hyper::StatusCode;
use tenant_service::seed;

use crate::fleet::{Fleet, TENANTS};

#[tokio::test]
async fn by_uuid_by_slug_and_by_host() {
    let fleet = Fleet::alone().await;
    let id = seed::org_id(0).to_string();
    for header in [
        ("x-tenant-id", id.as_str()),
        ("x-org-slug", "acme"),
        ("host", "acme.example.com"),
        ("host", "ACME.example.com:8080"),
    ] {
        let answer = fleet.get(0, "/org", &[header]).await;
        assert_eq!(answer.status, StatusCode::OK, "{header:?}");
        let org = answer.json();
        assert_eq!((org["id"].as_str(), org["slug"].as_str()), (Some(&*id), Some("acme")));
        assert_eq!(org["plan"], "free");
        assert_eq!(org["hosts"][0], "acme.example.com");
    }
    fleet.shutdown().await;
}

#[tokio::test]
async fn two_headers_have_to_agree_and_a_header_beats_the_host() {
    let fleet = Fleet::alone().await;
    let (first, second) = (seed::org_id(0).to_string(), seed::org_id(1).to_string());
    let both = fleet.get(0, "/org", &[("x-tenant-id", &first), ("x-org-slug", "acme")]).await;
    assert_eq!(both.status, StatusCode::OK);
    let other = fleet.get(0, "/org", &[("x-tenant-id", &second), ("x-org-slug", "acme")]).await;
    assert_eq!((other.status, other.json()["error"]["code"].as_str()), conflicting());
    let host = fleet.get(0, "/org", &[("host", "acme.example.com"), ("x-org-slug", "org-0001")]);
    assert_eq!(host.await.json()["slug"], "org-0001");
    fleet.shutdown().await;
}

fn conflicting() -> (StatusCode, Option<&'static str>) {
    (StatusCode::BAD_REQUEST, Some("conflicting_tenant"))
}

#[tokio::test]
async fn an_unknown_organisation_costs_one_query_and_an_inactive_one_is_refused() {
    let fleet = Fleet::alone().await;
    let before = fleet.queries();
    for _ in 0..20 {
        let answer = fleet.get(0, "/org", &[("x-org-slug", "nobody")]).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
        assert_eq!(answer.json()["error"]["code"], "unknown_organisation");
    }
    assert_eq!(fleet.queries() - before, 1, "that it is not there is remembered");
    let answer = fleet.get(0, "/org", &[("x-org-slug", seed::DORMANT)]).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert_eq!(answer.json()["error"]["code"], "inactive_organisation");
    fleet.shutdown().await;
}

#[tokio::test]
async fn three_instances_ask_the_database_once_for_each_key() {
    let fleet = Fleet::of_three().await;
    let before = fleet.queries();
    for round in 0..4 {
        for n in 0..TENANTS {
            let id = seed::org_id(n).to_string();
            let (slug, host) = (seed::slug(n), seed::host(n));
            for header in [("x-tenant-id", &id), ("x-org-slug", &slug), ("host", &host)] {
                let headers = [(header.0, header.1.as_str())];
                let at = (round + n as usize) % 3;
                let answer = fleet.get(at, "/org", &headers).await;
                assert_eq!(answer.json()["slug"], slug.as_str());
            }
        }
    }
    fleet.assert_once_each(u64::from(TENANTS) * 3, before);
    fleet.shutdown().await;
}

#[tokio::test]
async fn several_instances_may_make_the_database_at_once() {
    let fleet = Fleet::start(1, None, |_| {}).await;
    let path = fleet.database().path().unwrap().to_owned();
    std::fs::remove_file(&path).unwrap();
    let fresh = format!("{path}.2");
    let open = || tenant_service::Database::open(Some(fresh.clone().into()), 2, TENANTS);
    let (a, b, c) = tokio::join!(open(), open(), open());
    for database in [a.unwrap(), b.unwrap(), c.unwrap()] {
        let org = database.org(tenant_service::Identity::Slug("acme".parse().unwrap())).await;
        assert_eq!(org.unwrap().unwrap().plan, "free");
    }
    fleet.shutdown().await;
}
