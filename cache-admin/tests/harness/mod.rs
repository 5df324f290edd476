//! What the tests share: a router with tokens, and requests that are asked of it in process.
#![allow(
    dead_code,
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "each test file takes what it needs, and a panic is how a test fails"
)]

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode, header};
use cache_admin::{AdminAuth, AdminRouter, Rights};
use cache_services::CacheServices;
use cache_testkit::RedisServer;
use serde_json::Value;
use tower::ServiceExt;

pub(crate) const READER: &str = "reader-0123456789";
pub(crate) const WRITER: &str = "writer-0123456789";
pub(crate) const VALUES: &str = "values-0123456789";
pub(crate) const ALL: &str = "all-0123456789abc";

/// One token for each right, and one for all.
pub(crate) fn auth() -> AdminAuth {
    [
        ("reader", READER, Rights::READ),
        ("writer", WRITER, Rights::WRITE),
        ("values", VALUES, Rights::READ | Rights::VALUES),
        ("all", ALL, Rights::ALL),
    ]
    .into_iter()
    .try_fold(AdminAuth::new(), |auth, (name, token, rights)| auth.with_token(name, token, rights))
    .unwrap()
}

pub(crate) async fn in_process() -> CacheServices {
    CacheServices::builder().build().await.unwrap()
}

pub(crate) async fn on_redis(server: &RedisServer) -> CacheServices {
    CacheServices::builder().redis_url(server.url()).build().await.unwrap()
}

pub(crate) fn admin(services: &CacheServices) -> AdminRouter {
    AdminRouter::new(services.clone(), auth())
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).expect(&self.text)
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The status and the code of an error in the form in which all of them are.
    pub(crate) fn error(&self) -> (u16, String) {
        let json = self.json();
        assert_eq!(json.as_object().unwrap().len(), 1, "{json}");
        let error = json["error"].as_object().unwrap();
        assert_eq!(error.len(), 2, "{json}");
        assert!(error["message"].as_str().unwrap().len() > 10, "{json}");
        assert_eq!(self.header("content-type"), "application/json");
        (self.status.as_u16(), error["code"].as_str().unwrap().to_owned())
    }

    pub(crate) fn ok(self) -> Value {
        assert!(self.status.is_success(), "{} {}", self.status, self.text);
        self.json()
    }
}

pub(crate) async fn send(router: &Router, request: Request<Body>) -> Answer {
    let response = router.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = to_bytes(body, usize::MAX).await.unwrap();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    Answer { status: parts.status, headers: parts.headers, text }
}

pub(crate) fn request(method: &str, path: &str, token: &str) -> axum::http::request::Builder {
    let request = Request::builder().method(method).uri(path);
    match token {
        "" => request,
        token => request.header(header::AUTHORIZATION, format!("Bearer {token}")),
    }
}

pub(crate) async fn get(router: &Router, token: &str, path: &str) -> Answer {
    send(router, request("GET", path, token).body(Body::empty()).unwrap()).await
}

pub(crate) async fn post(router: &Router, token: &str, path: &str, body: &str) -> Answer {
    let request = request("POST", path, token).header("content-type", "application/json");
    send(router, request.body(Body::from(body.to_owned())).unwrap()).await
}
