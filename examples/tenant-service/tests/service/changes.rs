//! A change is seen at once on the instance that made it, and within the bound on the others.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use cache_testkit::{RedisServer, eventually, eventually_async};
use hyper::{Method, StatusCode};
use serde_json::json;
use tenant_service::{Secret, seed};

use crate::fleet::{Fleet, within_the_bound};

#[tokio::test]
async fn a_plan_is_seen_at_once_here_and_within_the_bound_elsewhere() {
    let fleet = Fleet::of_three().await;
    let id = seed::org_id(0).to_string();
    let ways = [("x-tenant-id", id.as_str()), ("x-org-slug", "acme"), ("host", "acme.example.com")];
    for round in 0..10_usize {
        for at in 0..3 {
            for way in ways {
                fleet.get(at, "/org", &[way]).await;
            }
        }
        let (plan, maker) = (format!("plan-{round}"), round % 3);
        let answer = fleet.put(maker, "/orgs/acme", json!({ "plan": plan })).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(
            (&answer.json()["plan"], &answer.json()["invalidation"]),
            (&json!(plan), &json!("done"))
        );
        for way in ways {
            assert_eq!(fleet.get(maker, "/org", &[way]).await.json()["plan"], *plan, "{way:?}");
        }
        for at in 0..3 {
            for way in ways {
                let new = async || fleet.get(at, "/org", &[way]).await.json()["plan"] == *plan;
                within_the_bound(new).await;
            }
        }
    }
    fleet.shutdown().await;
}

#[tokio::test]
async fn a_role_is_seen_at_once_here_and_within_the_bound_elsewhere() {
    let fleet = Fleet::of_three().await;
    for at in 0..3 {
        assert_eq!(fleet.me(at, 0, 0).await.json()["user"]["role"], "viewer");
    }
    let path = format!("/users/{}/role", seed::user_id(0, 0));
    let answer = fleet.put(0, &path, json!({ "role": "owner" })).await;
    assert_eq!(answer.status, StatusCode::OK);
    let me = fleet.me(0, 0, 0).await.json();
    assert_eq!(me["user"]["role"], "owner");
    let permissions = me["user"]["permissions"].as_array().unwrap();
    assert!(permissions.contains(&json!("invoices:delete")), "{permissions:?}");
    for at in 1..3 {
        within_the_bound(async || fleet.me(at, 0, 0).await.json()["user"]["role"] == "owner").await;
    }
    fleet.shutdown().await;
}

#[tokio::test]
async fn hosts_that_come_and_go_are_forgotten_under_old_names_and_new() {
    let fleet = Fleet::of_three().await;
    for at in 0..3 {
        let new = fleet.get(at, "/org", &[("host", "new.example.org")]).await;
        assert_eq!(new.status, StatusCode::NOT_FOUND, "and that is remembered");
        fleet.get(at, "/org", &[("host", "acme.example.com")]).await;
    }
    let answer = fleet.put(0, "/orgs/acme", json!({ "hosts": ["new.example.org"] })).await;
    assert_eq!(answer.status, StatusCode::OK);
    let old = fleet.get(0, "/org", &[("host", "acme.example.com")]).await;
    assert_eq!(old.status, StatusCode::NOT_FOUND);
    for at in 0..3 {
        let status = async |host| fleet.get(at, "/org", &[("host", host)]).await.status;
        within_the_bound(async || status("new.example.org").await == StatusCode::OK).await;
        within_the_bound(async || status("acme.example.com").await == StatusCode::NOT_FOUND).await;
    }
    fleet.shutdown().await;
}

#[tokio::test]
async fn an_organisation_is_closed_and_opened_again() {
    let fleet = Fleet::alone().await;
    fleet.org(0, "acme").await;
    for (active, status) in [(false, StatusCode::FORBIDDEN), (true, StatusCode::OK)] {
        fleet.put(0, "/orgs/acme", json!({ "active": active })).await;
        assert_eq!(fleet.get(0, "/org", &[("x-org-slug", "acme")]).await.status, status);
    }
    fleet.shutdown().await;
}

#[tokio::test]
async fn what_cannot_be_changed_changes_nothing() {
    let fleet = Fleet::alone().await;
    let before = fleet.org(0, "acme").await;
    let role = format!("/users/{}/role", seed::user_id(0, 0));
    for (path, body, status, code) in [
        ("/orgs/nobody", json!({ "plan": "free" }), 404, "not_found"),
        (
            "/orgs/acme",
            json!({ "hosts": ["x.example", "org-0001.example.com"] }),
            409,
            "host_taken",
        ),
        ("/orgs/acme", json!({}), 400, "bad_change"),
        ("/orgs/acme", json!({ "plan": "" }), 400, "bad_change"),
        ("/orgs/acme", json!({ "plan": "a\u{7}" }), 400, "bad_change"),
        ("/orgs/acme", json!({ "plan": "a".repeat(65) }), 400, "bad_change"),
        (&role, json!({ "role": "emperor" }), 422, "unknown_role"),
        (
            "/users/00000000-0000-4000-8000-00000000ffff/role",
            json!({ "role": "owner" }),
            404,
            "not_found",
        ),
    ] {
        let answer = fleet.put(0, path, body.clone()).await;
        assert_eq!(answer.status.as_u16(), status, "{path} {body}: {}", answer.json());
        assert_eq!(answer.json()["error"]["code"], code, "{path} {body}");
    }
    let unknown = format!("/tokens/{}/revoke", seed::org_id(7));
    assert_eq!(fleet.post(0, &unknown, &[]).await.status, StatusCode::NOT_FOUND);
    assert_eq!(fleet.org(0, "acme").await, before);
    fleet.shutdown().await;
}

#[tokio::test]
async fn with_a_token_for_changes_nobody_changes_anything_without_it() {
    let fleet = Fleet::start(1, None, |settings| {
        settings.change_token = Some(Secret::new("let-me-change"));
    });
    let fleet = fleet.await;
    let body = json!({ "plan": "team" });
    for (token, status) in [("wrong-token", 401), ("let-me-change", 200)] {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str())];
        let answer =
            fleet.clients[0].json(Method::PUT, "/orgs/acme", &headers, &body).await.unwrap();
        assert_eq!(answer.status.as_u16(), status);
    }
    assert_eq!(fleet.put(0, "/orgs/acme", body).await.status, StatusCode::UNAUTHORIZED);
    fleet.shutdown().await;
}

#[tokio::test]
async fn a_change_that_redis_could_not_be_told_is_said_to_be_pending_and_made_up_for() {
    let fleet = Fleet::start(2, Some(RedisServer::start()), |_| {}).await;
    for at in 0..2 {
        fleet.org(at, "acme").await;
    }
    fleet.redis().pause();
    let answer = fleet.put(0, "/orgs/acme", json!({ "plan": "team" })).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    assert_eq!(answer.json()["invalidation"], "pending");
    assert_eq!(answer.json()["plan"], "team");
    assert_eq!(fleet.org(0, "acme").await["plan"], "team", "here it is seen at once");
    fleet.redis().resume();
    eventually_async(async || fleet.org(1, "acme").await["plan"] == "team").await;
    let pending = || fleet.instances[0].app().services().tier_stats().unwrap().replays_pending;
    eventually_async(async || pending() == 0).await;
    assert_eq!(fleet.org(1, "acme").await["plan"], "team", "and stays so");
    fleet.shutdown().await;
}

/// The client goes away while the change waits for the database. It is made all the same, so the cache
/// has to be told all the same.
#[tokio::test]
async fn a_client_that_hangs_up_leaves_no_old_value_behind() {
    let fleet = Fleet::alone().await;
    assert_eq!(fleet.org(0, "acme").await["plan"], "free");
    let database = fleet.database();
    database.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut client = TcpStream::connect(fleet.instances[0].addr()).unwrap();
    let body = r#"{"plan":"enterprise"}"#;
    let length = body.len();
    write!(client, "PUT /orgs/acme HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}")
        .unwrap();
    eventually(|| fleet.instances[0].app().counts().under_way == 1).await;
    drop(client);
    // No sign tells from outside that the service has seen the client go: a while has to do.
    tokio::time::sleep(Duration::from_millis(200)).await;
    database.execute_batch("COMMIT").unwrap();
    eventually_async(async || fleet.org(0, "acme").await["plan"] == "enterprise").await;
    fleet.shutdown().await;
}

#[tokio::test]
async fn a_change_that_takes_too_long_may_be_made_and_the_answer_says_so() {
    let fleet = Fleet::start(1, None, |settings| {
        settings.live.request_timeout = Duration::from_millis(300);
    });
    let fleet = fleet.await;
    let database = fleet.database();
    database.execute_batch("BEGIN IMMEDIATE").unwrap();
    let answer = fleet.put(0, "/orgs/acme", json!({ "plan": "team" })).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.json()["error"]["code"], "took_too_long");
    let message = answer.json()["error"]["message"].to_string();
    assert!(message.contains("may have been done all the same"), "{message}");
    database.execute_batch("COMMIT").unwrap();
    eventually_async(async || fleet.org(0, "acme").await["plan"] == "team").await;
    fleet.shutdown().await;
}
