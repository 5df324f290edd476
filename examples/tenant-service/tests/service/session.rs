//! A token is exchanged once, however many ask and wherever.

use futures_util::future::join_all;
use hyper::StatusCode;
use tenant_service::seed;

use crate::fleet::Fleet;

async fn once(fleet: &Fleet) {
    let bearer = format!("Bearer {}", seed::token(0, 0));
    let headers = [("x-org-slug", "acme"), ("authorization", bearer.as_str())];
    let asking = (0..30).map(|n| fleet.post(n % fleet.clients.len(), "/session/refresh", &headers));
    let mut sessions = Vec::new();
    for answer in join_all(asking).await {
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.json());
        sessions.push(answer.json());
    }
    assert!(sessions.iter().all(|session| *session == sessions[0]), "{sessions:?}");
    assert_eq!(fleet.upstream.exchanges(), 1);
    for at in 0..fleet.clients.len() {
        assert_eq!(fleet.post(at, "/session/refresh", &headers).await.json(), sessions[0]);
    }
    assert_eq!(fleet.upstream.exchanges(), 1, "a session that lasts is not exchanged again");
}

#[tokio::test]
async fn once_in_one_instance() {
    let fleet = Fleet::alone().await;
    once(&fleet).await;
    fleet.shutdown().await;
}

#[tokio::test]
async fn once_across_three_instances() {
    let fleet = Fleet::of_three().await;
    once(&fleet).await;
    fleet.shutdown().await;
}

#[tokio::test]
async fn a_revoked_token_has_no_session_and_without_redis_nothing_is_exchanged() {
    let fleet = Fleet::of_three().await;
    once(&fleet).await;
    let revoke = format!("/tokens/{}/revoke", seed::token_id(0, 0));
    assert_eq!(fleet.post(0, &revoke, &[]).await.status, StatusCode::OK);
    let bearer = format!("Bearer {}", seed::token(0, 0));
    let headers = [("x-org-slug", "acme"), ("authorization", bearer.as_str())];
    let refused = fleet.post(0, "/session/refresh", &headers).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);

    fleet.redis().stop();
    let bearer = format!("Bearer {}", seed::token(0, 1));
    let headers = [("x-org-slug", "acme"), ("authorization", bearer.as_str())];
    let answer = fleet.post(1, "/session/refresh", &headers).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.json()["error"]["code"], "lock_unavailable");
    assert!(answer.headers.contains_key("retry-after"));
    assert_eq!(fleet.upstream.exchanges(), 1, "without the lock nothing is exchanged");
    fleet.shutdown().await;
}
