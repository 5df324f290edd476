//! Tokens: found once, known by their hash alone, worth nothing once revoked.

use hyper::StatusCode;
use tenant_service::{TokenHash, seed};

use crate::fleet::{Fleet, within_the_bound};

#[tokio::test]
async fn a_token_says_who_asks() {
    let fleet = Fleet::alone().await;
    for (who, role) in (0..).zip(seed::ROLES) {
        let me = fleet.me(0, 3, who).await;
        assert_eq!(me.status, StatusCode::OK);
        let me = me.json();
        assert_eq!(me["organisation"], seed::slug(3));
        assert_eq!(me["user"]["role"], role);
        assert_eq!(me["token"], seed::token_id(3, who).to_string());
    }
    let before = fleet.queries();
    for _ in 0..10 {
        fleet.me(0, 3, 0).await;
    }
    assert_eq!(fleet.queries(), before, "organisation, token and user are cached");
    fleet.shutdown().await;
}

#[tokio::test]
async fn a_revoked_token_is_refused_by_every_instance() {
    let fleet = Fleet::of_three().await;
    for at in 0..3 {
        assert_eq!(fleet.me(at, 0, 1).await.status, StatusCode::OK);
    }
    let path = format!("/tokens/{}/revoke", seed::token_id(0, 1));
    let answer = fleet.post(1, &path, &[]).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.json()["revoked"], true);
    assert_eq!(fleet.me(1, 0, 1).await.status, StatusCode::UNAUTHORIZED);
    for at in 0..3 {
        let refused = async || fleet.me(at, 0, 1).await.status == StatusCode::UNAUTHORIZED;
        within_the_bound(refused).await;
    }
    assert_eq!(fleet.me(0, 0, 2).await.status, StatusCode::OK, "others are good still");
    assert_eq!(fleet.post(2, &path, &[]).await.status, StatusCode::OK, "again does no harm");
    fleet.shutdown().await;
}

#[tokio::test]
async fn what_is_no_good_token_of_the_organisation_is_refused() {
    let fleet = Fleet::alone().await;
    let ended = TokenHash::of(&seed::token(5, 0)).to_string();
    let changed =
        fleet.database().execute("UPDATE tokens SET expires_at = 1 WHERE hash = ?1", [ended]);
    assert_eq!(changed.unwrap(), 1);
    let me = async |n: u32, authorization: Option<String>| {
        let slug = seed::slug(n);
        let mut headers = vec![("x-org-slug", slug.as_str())];
        headers.extend(authorization.as_deref().map(|value| ("authorization", value)));
        let answer = fleet.get(0, "/me", &headers).await;
        (answer.status.as_u16(), answer.json()["error"]["code"].as_str().unwrap().to_owned())
    };
    let bearer = |token: String| Some(format!("Bearer {token}"));
    assert_eq!(me(0, None).await, (401, "no_token".to_owned()));
    assert_eq!(me(0, Some("Basic abc".to_owned())).await, (401, "bad_token".to_owned()));
    assert_eq!(me(0, bearer("unknown-token".to_owned())).await, (401, "bad_token".to_owned()));
    assert_eq!(me(5, bearer(seed::token(5, 0))).await, (401, "bad_token".to_owned()));
    assert_eq!(me(0, bearer(seed::token(1, 0))).await, (403, "other_organisation".to_owned()));
    assert_eq!(me(0, bearer("a".repeat(513))).await, (401, "bad_token".to_owned()));
    let before = fleet.queries();
    me(0, bearer("unknown-token".to_owned())).await;
    assert_eq!(fleet.queries(), before, "that it is unknown is remembered");
    fleet.shutdown().await;
}

#[tokio::test]
async fn no_token_stands_in_redis() {
    let fleet = Fleet::of_three().await;
    let token = seed::token(2, 0);
    fleet.me(0, 2, 0).await;
    let headers = [("x-org-slug", "org-0002"), ("authorization", &*format!("Bearer {token}"))];
    assert_eq!(fleet.post(0, "/session/refresh", &headers).await.status, StatusCode::OK);
    let dump = fleet.redis().command(&["EVAL", DUMP, "0"]).text();
    assert!(dump.contains(&TokenHash::of(&token).to_string()), "{dump}");
    assert!(dump.contains(&seed::user_id(2, 0).to_string()), "values are in there: {dump}");
    assert!(!dump.contains(&token), "{dump}");
    fleet.shutdown().await;
}

/// Every key, and every value that is a string.
const DUMP: &str = "
    local all = ''
    for _, key in ipairs(redis.call('KEYS', '*')) do
        all = all .. key .. ' '
        if redis.call('TYPE', key).ok == 'string' then all = all .. redis.call('GET', key) end
    end
    return all";
