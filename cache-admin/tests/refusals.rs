//! Who is refused, and what is: wrong tokens, missing rights, wrong paths, methods and bodies.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod harness;

use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::{StatusCode, header};
use cache_admin::{AdminAuth, AdminRouter};
use cache_services::CacheServiceExt;
use harness::{ALL, Answer, READER, VALUES, WRITER, admin, get, in_process, post, request, send};

const READS: [&str; 7] =
    ["/stats", "/entries/k", "/locks", "/locks/k", "/health", "/metrics", "/warm"];
const WRITES: [&str; 4] = ["/invalidate", "/clear", "/warm", "/locks/k/release"];

async fn router() -> Router {
    admin(&in_process().await).build()
}

/// What can be told apart.
fn seen(answer: &Answer) -> (StatusCode, Vec<(String, String)>, String) {
    let headers = answer.headers.iter();
    let headers = headers.map(|(name, value)| (name.to_string(), format!("{value:?}"))).collect();
    (answer.status, headers, answer.text.clone())
}

#[tokio::test]
async fn without_a_known_token_every_answer_is_the_same() {
    let router = router().await;
    let first = seen(&get(&router, "", "/stats").await);
    let prefix = &ALL[..ALL.len() - 1];
    for token in ["", "wrong", prefix, &format!("{ALL}x"), &"x".repeat(10_000)] {
        for path in READS.iter().chain(&["/nothing", "/invalidate", "/entries/%zz", "/locks/"]) {
            let answer = get(&router, token, path).await;
            assert_eq!(seen(&answer), first, "{path} {token}");
            assert_eq!(answer.error(), (401, "unauthorized".into()));
            assert!(answer.header("www-authenticate").starts_with("Bearer"));
        }
        for path in WRITES {
            for body in ["", "{", r#"{"all": true}"#] {
                assert_eq!(seen(&post(&router, token, path, body).await), first, "{path} {token}");
            }
        }
    }
    let twice =
        request("GET", "/stats", ALL).header(header::AUTHORIZATION, format!("Bearer {ALL}"));
    assert_eq!(seen(&send(&router, twice.body(Body::empty()).unwrap()).await), first);
    let binary =
        request("GET", "/stats", "").header(header::AUTHORIZATION, &b"Bearer \xff\xfe"[..]);
    assert_eq!(seen(&send(&router, binary.body(Body::empty()).unwrap()).await), first);
}

#[tokio::test]
async fn without_any_token_configured_everything_is_refused() {
    let router = AdminRouter::new(in_process().await, AdminAuth::new()).build();
    for token in ["", ALL] {
        assert_eq!(get(&router, token, "/stats").await.error().0, 401);
        assert_eq!(post(&router, token, "/clear", "").await.error().0, 401);
    }
}

/// Real time is what is compared. Medians of turns taken in rotation, and far apart only if the
/// comparison stopped at the first byte that differs or did without the work.
#[tokio::test]
async fn wrong_and_missing_tokens_take_the_same_time() {
    let router = router().await;
    let near = format!("{}x", &ALL[..ALL.len() - 1]);
    let far = format!("x{}", &ALL[1..]);
    let mut times = [const { Vec::new() }; 3];
    for _ in 0..2_000 {
        for (token, times) in ["", &far, &near].into_iter().zip(&mut times) {
            let begun = Instant::now();
            let answer = get(&router, token, "/stats").await;
            times.push(begun.elapsed());
            assert_eq!(answer.status, 401);
        }
    }
    let medians = times.map(|mut times| {
        times.sort_unstable();
        times[times.len() / 2]
    });
    let (least, most) = (medians.iter().min().unwrap(), medians.iter().max().unwrap());
    assert!(*most < *least * 2 + Duration::from_micros(20), "{medians:?}");
}

#[tokio::test]
async fn each_right_stands_alone() {
    let services = in_process().await;
    let router = admin(&services).build();
    services.cache().set("k", "secret", None).await.unwrap();
    for path in READS {
        let refused = get(&router, WRITER, path).await;
        assert_eq!(refused.error(), (403, "forbidden".into()), "{path}");
        assert_ne!(get(&router, READER, path).await.status, 403, "{path}");
    }
    for token in [READER, VALUES] {
        for path in WRITES {
            let refused = post(&router, token, path, r#"{"all": true}"#).await;
            assert_eq!(refused.error(), (403, "forbidden".into()), "{path}");
        }
    }
    assert!(services.cache().contains("k").await.unwrap(), "nothing was written");
    assert!(!get(&router, READER, "/entries/k").await.text.contains("secret"));
    assert!(get(&router, VALUES, "/entries/k").await.text.contains("secret"));
    assert_eq!(post(&router, WRITER, "/clear", "").await.ok()["removed"], 1);
}

#[tokio::test]
async fn unknown_paths_and_methods_are_json_errors() {
    let router = router().await;
    for path in ["/nothing", "/stats/", "/entries", "/warm/x/y", "//", "/metrics/x"] {
        assert_eq!(get(&router, ALL, path).await.error(), (404, "not_found".into()), "{path}");
    }
    for (method, path, allowed) in [
        ("POST", "/stats", "GET,HEAD"),
        ("DELETE", "/entries/k", "GET,HEAD"),
        ("GET", "/invalidate", "POST"),
        ("GET", "/clear", "POST"),
        ("PUT", "/locks/k", "GET,HEAD,POST"),
        ("BREW", "/health", "GET,HEAD"),
        ("POST", "/", "GET,HEAD"),
    ] {
        let answer = send(&router, request(method, path, ALL).body(Body::empty()).unwrap()).await;
        assert_eq!(answer.error(), (405, "method_not_allowed".into()), "{method} {path}");
        assert_eq!(answer.header("allow"), allowed, "{method} {path}");
    }
    let head = send(&router, request("HEAD", "/stats", ALL).body(Body::empty()).unwrap()).await;
    assert_eq!((head.status.as_u16(), &*head.text), (200, ""));
}

#[tokio::test]
async fn what_is_no_fitting_body_is_refused() {
    let services = in_process().await;
    let router = admin(&services).build();
    services.cache().set("k", "v", None).await.unwrap();
    let deep = "[".repeat(100_000);
    let long_key = format!(r#"{{"keys": ["{}"]}}"#, "x".repeat(1_025));
    for (path, body, code) in [
        ("/invalidate", "", "malformed_json"),
        ("/invalidate", "{", "malformed_json"),
        ("/invalidate", "\u{feff}{}", "malformed_json"),
        ("/invalidate", r#"{"all": true} x"#, "malformed_json"),
        ("/invalidate", &deep, "malformed_json"),
        ("/invalidate", "{}", "invalid_request"),
        ("/invalidate", "null", "invalid_request"),
        ("/invalidate", "[]", "invalid_request"),
        ("/invalidate", r#""all""#, "invalid_request"),
        ("/invalidate", r#"{"all": false}"#, "invalid_request"),
        ("/invalidate", r#"{"all": 1}"#, "invalid_request"),
        ("/invalidate", r#"{"all": true, "prefix": "k"}"#, "invalid_request"),
        ("/invalidate", r#"{"keys": ["k"], "keys": ["k"]}"#, "invalid_request"),
        ("/invalidate", r#"{"tag": "k"}"#, "invalid_request"),
        ("/invalidate", r#"{"keys": "k"}"#, "invalid_request"),
        ("/invalidate", r#"{"keys": [1]}"#, "invalid_request"),
        ("/invalidate", r#"{"keys": null}"#, "invalid_request"),
        ("/invalidate", r#"{"keys": []}"#, "invalid_request"),
        ("/invalidate", r#"{"keys": ["k", ""]}"#, "invalid_key"),
        ("/invalidate", &long_key, "invalid_key"),
        ("/invalidate", r#"{"prefix": ""}"#, "invalid_request"),
        ("/invalidate", r#"{"prefix": ["k"]}"#, "invalid_request"),
        ("/clear", r#"{"all": true}"#, "invalid_request"),
        ("/clear", "{", "malformed_json"),
        ("/locks/k/release", "{}", "invalid_request"),
        ("/locks/k/release", r#"{"fence": -1}"#, "invalid_request"),
        ("/locks/k/release", r#"{"fence": 1.5}"#, "invalid_request"),
        ("/locks/k/release", r#"{"fence": 1, "force": true}"#, "invalid_request"),
        ("/locks//release", r#"{"fence": 1}"#, "invalid_key"),
        ("/locks/%ff/release", r#"{"fence": 1}"#, "invalid_key"),
    ] {
        let answer = post(&router, ALL, path, body).await;
        let (status, got) = answer.error();
        assert_eq!((status, &*got), (400, code), "{path} {:.60} {}", body, answer.text);
    }
    assert!(services.cache().contains("k").await.unwrap(), "nothing was removed");
}

#[tokio::test]
async fn bodies_have_a_type_and_a_bound() {
    let router = admin(&in_process().await).body_limit(64).build();
    for kind in ["", "text/plain", "application/x-www-form-urlencoded", "application/jsonp"] {
        let request = request("POST", "/invalidate", ALL).header("content-type", kind);
        let request = request.body(Body::from(r#"{"all": true}"#)).unwrap();
        assert_eq!(send(&router, request).await.error(), (415, "unsupported_media_type".into()));
    }
    let charset = request("POST", "/invalidate", ALL)
        .header("content-type", "application/JSON; charset=utf-8")
        .body(Body::from(r#"{"all": true}"#));
    send(&router, charset.unwrap()).await.ok();
    let large = format!(r#"{{"prefix": "{}"}}"#, "x".repeat(64));
    for path in ["/invalidate", "/clear", "/locks/k/release"] {
        let answer = post(&router, ALL, path, &large).await;
        assert_eq!(answer.error(), (413, "too_large".into()), "{path}");
    }
    let announced = request("POST", "/invalidate", ALL)
        .header("content-type", "application/json")
        .header("content-length", "99999999999")
        .body(Body::empty());
    assert_eq!(send(&router, announced.unwrap()).await.error(), (413, "too_large".into()));
}

#[tokio::test]
async fn keys_that_cannot_be_are_refused() {
    let router = router().await;
    let long = format!("/entries/{}", "x".repeat(1_025));
    for path in
        ["/entries/", "/entries/%", "/entries/%ff", "/entries/%4", &long, "/locks/", "/locks/%C3"]
    {
        assert_eq!(get(&router, ALL, path).await.error(), (400, "invalid_key".into()), "{path}");
    }
}

#[tokio::test]
async fn every_answer_has_the_headers_that_protect() {
    let router = router().await;
    for path in ["/", "/stats", "/nothing", "/entries/none", "/metrics"] {
        for token in ["", ALL] {
            let answer = get(&router, token, path).await;
            assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
            assert_eq!(answer.header("cache-control"), "no-store", "{path}");
            assert_eq!(answer.header("referrer-policy"), "no-referrer", "{path}");
            assert_eq!(answer.header("x-frame-options"), "DENY", "{path}");
            let policy = answer.header("content-security-policy");
            assert!(policy.starts_with("default-src 'none'"), "{path} {policy}");
            assert!(!policy.contains("http") && !policy.contains("unsafe"), "{path} {policy}");
        }
    }
}
