//! A token is exchanged once, however many ask and wherever.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use cache_services::CacheServiceExt;
use cache_testkit::eventually;
use futures_util::future::join_all;
use hyper::StatusCode;
use tenant_service::{TokenHash, seed};

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

#[tokio::test]
async fn a_client_that_hangs_up_breaks_off_no_exchange() {
    let slow = |settings: &mut tenant_service::Settings| {
        settings.upstream_latency = Duration::from_millis(500);
    };
    let fleet = Fleet::start(1, None, slow).await;
    let token = seed::token(0, 0);
    let mut client = TcpStream::connect(fleet.instances[0].addr()).unwrap();
    write!(
        client,
        "POST /session/refresh HTTP/1.1\r\nHost: acme.example.com\r\nAuthorization: Bearer {token}\r\n\r\n"
    )
    .unwrap();
    eventually(|| fleet.upstream.exchanges() == 1).await;
    drop(client);
    eventually(|| fleet.instances[0].app().counts().under_way == 0).await;
    let bearer = format!("Bearer {token}");
    let headers = [("x-org-slug", "acme"), ("authorization", bearer.as_str())];
    let answer = fleet.post(0, "/session/refresh", &headers).await;
    assert_eq!(answer.json()["exchange"], 1, "{}", answer.json());
    fleet.shutdown().await;
}

#[tokio::test]
async fn a_token_that_is_revoked_during_its_exchange_gets_no_session() {
    // Long enough for the revocation to come first.
    let slow = |settings: &mut tenant_service::Settings| {
        settings.upstream_latency = Duration::from_secs(2);
    };
    let fleet = Fleet::start(1, None, slow).await;
    let bearer = format!("Bearer {}", seed::token(0, 0));
    let headers = [("x-org-slug", "acme"), ("authorization", bearer.as_str())];
    let revoke = format!("/tokens/{}/revoke", seed::token_id(0, 0));
    let (first, second, ()) = tokio::join!(
        fleet.post(0, "/session/refresh", &headers),
        fleet.post(0, "/session/refresh", &headers),
        async {
            // One is with the provider, and the other waits for it.
            let app = fleet.instances[0].app();
            eventually(|| fleet.upstream.exchanges() == 1 && app.counts().under_way == 2).await;
            assert_eq!(fleet.post(0, &revoke, &[]).await.status, StatusCode::OK);
        }
    );
    for refused in [first, second] {
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{}", refused.json());
        assert_eq!(refused.json()["error"]["code"], "bad_token");
    }
    assert_eq!(fleet.upstream.exchanges(), 1, "who waited exchanges nothing");
    let session = TokenHash::of(&seed::token(0, 0)).session_key();
    assert!(!fleet.instances[0].app().cache().contains(&session).await.unwrap());
    fleet.shutdown().await;
}
