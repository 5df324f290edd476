//! Requests that no client of good will sends: refused with a status, a code and a sentence.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;
use tenant_service::Secret;

use crate::fleet::{ADMIN_TOKEN, Fleet};

/// Sends bytes and reads the answer: its status, headers and JSON.
fn raw(addr: SocketAddr, request: &[u8]) -> (u16, String, Value) {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(request).unwrap();
    let mut answer = Vec::new();
    // The service may close before it has read everything: what it said counts.
    let _ = stream.read_to_end(&mut answer);
    let text = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, head.to_ascii_lowercase(), serde_json::from_str(body).unwrap_or_default())
}

/// A request with these header lines.
fn get(lines: &[&[u8]]) -> Vec<u8> {
    let mut request = b"GET /org HTTP/1.1\r\nConnection: close\r\n".to_vec();
    for line in lines {
        request.extend_from_slice(line);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    request
}

async fn ask(addr: SocketAddr, request: Vec<u8>) -> (u16, String, Value) {
    tokio::task::spawn_blocking(move || raw(addr, &request)).await.unwrap()
}

#[tokio::test]
async fn headers_that_name_no_organisation() {
    let fleet = Fleet::alone().await;
    let addr = fleet.instances[0].addr();
    let long = [b"X-Org-Slug: ".as_slice(), &[b'a'; 400]].concat();
    let cases: &[(&[&[u8]], u16, &str)] = &[
        (&[b"Host: a", b"X-Org-Slug: acme", b"X-Org-Slug: acme"], 400, "repeated_header"),
        (&[b"Host: a", b"Host: b"], 400, "repeated_header"),
        (&[b"Host: a", b"X-Tenant-ID: 1", b"X-Tenant-ID: 2"], 400, "repeated_header"),
        (&[b"Host: a", &long], 400, "bad_header"),
        (&[b"Host: a", b"X-Org-Slug: \xff\xfe"], 400, "bad_header"),
        (&[b"Host: a", b"X-Org-Slug: \xc3\xa4"], 400, "bad_header"),
        (&[b"Host: a", b"X-Org-Slug: a\tb"], 400, "bad_header"),
        (&[b"Host: a", b"X-Org-Slug:"], 400, "bad_header"),
        (&[b"Host: a", b"X-Org-Slug: *"], 400, "bad_header"),
        (&[b"Host: a", b"X-Org-Slug: acme*"], 400, "bad_header"),
        (&[b"Host: a", b"X-Org-Slug: ac?e"], 400, "bad_header"),
        (&[b"Host: a", b"X-Org-Slug: [a-z]cme"], 400, "bad_header"),
        (&[b"Host: a", b"X-Org-Slug: host:acme.example.com"], 400, "bad_header"),
        (&[b"Host: a", b"X-Org-Slug: id:00000000-0000-4000-8000-000000000001"], 400, "bad_header"),
        (&[b"Host: a", b"X-Org-Slug: acme,org-0001"], 400, "bad_header"),
        (&[b"Host: a", b"X-Org-Slug: ../acme"], 400, "bad_header"),
        (&[b"Host: a", b"X-Org-Slug: ACME"], 400, "bad_header"),
        (&[b"Host: a", b"X-Tenant-ID: acme"], 400, "bad_header"),
        (&[b"Host: a", b"X-Tenant-ID: *"], 400, "bad_header"),
        (&[b"Host: a:b:c"], 400, "bad_header"),
        (&[b"Host: *"], 400, "bad_header"),
        (&[b"Host: *.example.com"], 400, "bad_header"),
        (&[b"Host: acme.example.com:*"], 400, "bad_header"),
        (&[b"Host:"], 400, "no_organisation"),
        (&[], 400, "no_organisation"),
        (&[b"Host: nowhere.example.com"], 404, "unknown_organisation"),
    ];
    for (lines, status, code) in cases {
        let shown: Vec<_> = lines.iter().map(|line| String::from_utf8_lossy(line)).collect();
        let (found, head, body) = ask(addr, get(lines)).await;
        assert_eq!(
            (found, body["error"]["code"].as_str()),
            (*status, Some(*code)),
            "{shown:?}: {body}"
        );
        assert!(
            body["error"]["message"].as_str().is_some_and(|text| text.ends_with('.')),
            "{shown:?}: {body}"
        );
        assert!(head.contains("content-type: application/json"), "{shown:?}: {head}");
    }
    assert_eq!(fleet.queries(), 1, "only the host that could be one was looked up");
    // What HTTP itself forbids never reaches the service.
    for line in [b"X-Org-Slug: a\x00b".as_slice(), b"X-Org-Slug: a\x07b", b"X-Org Slug: acme"] {
        assert_eq!(ask(addr, get(&[b"Host: a", line])).await.0, 400);
    }
    let huge = [b"X-Org-Slug: ".as_slice(), &vec![b'a'; 1_000_000]].concat();
    assert_eq!(ask(addr, get(&[b"Host: a", &huge])).await.0, 431);
    fleet.shutdown().await;
}

#[tokio::test]
async fn a_token_that_is_shown_twice_is_refused() {
    let fleet = Fleet::start(1, None, |settings| {
        settings.change_token = Some(Secret::new("let-me-change"));
    });
    let fleet = fleet.await;
    let (addr, admin) = (fleet.instances[0].addr(), fleet.instances[0].admin_addr());
    let twice = |line: &str, token: &str| {
        let token = format!("Authorization: Bearer {token}\r\n");
        let head = format!("{line} HTTP/1.1\r\nHost: acme.example.com\r\nConnection: close\r\n");
        format!("{head}{token}{token}\r\n").into_bytes()
    };
    let user = tenant_service::seed::token(0, 0);
    for (addr, request, expected) in [
        (addr, twice("GET /me", &user), (400, Some("repeated_header"))),
        (addr, twice("PUT /orgs/acme", "let-me-change"), (400, Some("repeated_header"))),
        (admin, twice("GET /service", ADMIN_TOKEN), (401, Some("unauthorized"))),
        (admin, twice("GET /stats", ADMIN_TOKEN), (401, Some("unauthorized"))),
    ] {
        let (status, _, body) = ask(addr, request).await;
        assert_eq!((status, body["error"]["code"].as_str()), expected, "{body}");
    }
    fleet.shutdown().await;
}

#[tokio::test]
async fn a_head_that_does_not_come_to_its_end_is_not_waited_for() {
    let fleet = Fleet::start(1, None, |settings| {
        settings.live.header_timeout = Duration::from_millis(300);
    });
    let fleet = fleet.await;
    for addr in [fleet.instances[0].addr(), fleet.instances[0].admin_addr()] {
        for sent in ["", "GET /org HTTP/1.1\r\nHost: acme.exam"] {
            let closed = tokio::task::spawn_blocking(move || {
                let mut stream = TcpStream::connect(addr).unwrap();
                stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                stream.write_all(sent.as_bytes()).unwrap();
                stream.read_to_end(&mut Vec::new()).is_ok()
            });
            assert!(closed.await.unwrap(), "{sent:?}");
        }
    }
    assert_eq!(fleet.org(0, "acme").await["slug"], "acme");
    fleet.shutdown().await;
}

#[tokio::test]
async fn the_host_of_an_absolute_url_goes_before_the_header() {
    let fleet = Fleet::alone().await;
    let request = b"GET http://acme.example.com/org HTTP/1.1\r\nHost: org-0001.example.com\r\nConnection: close\r\n\r\n";
    let (status, _, body) = ask(fleet.instances[0].addr(), request.to_vec()).await;
    assert_eq!((status, body["slug"].as_str()), (200, Some("acme")));
    fleet.shutdown().await;
}

#[tokio::test]
async fn bodies_methods_and_paths_that_do_not_fit() {
    let fleet = Fleet::alone().await;
    let addr = fleet.instances[0].addr();
    let put = |path: &str, body: &[u8]| {
        let head = format!(
            "PUT {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        [head.as_bytes(), body].concat()
    };
    let chunked = |body: &[u8]| {
        let head = "PUT /orgs/acme HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
        [head.as_bytes(), format!("{:x}\r\n", body.len()).as_bytes(), body, b"\r\n0\r\n\r\n"]
            .concat()
    };
    let large = vec![b' '; 20_000];
    let lone = |line: &str| {
        format!("{line} HTTP/1.1\r\nHost: acme.example.com\r\nConnection: close\r\n\r\n")
            .into_bytes()
    };
    for (request, status, code) in [
        (put("/orgs/acme", &large), 413, "body_too_large"),
        (chunked(&large), 413, "body_too_large"),
        (put("/orgs/acme", b""), 400, "bad_json"),
        (put("/orgs/acme", b"{\"plan\":"), 400, "bad_json"),
        (put("/orgs/acme", b"[]"), 400, "bad_json"),
        (put("/orgs/acme", b"{\"plan\":7}"), 400, "bad_json"),
        (put("/orgs/acme", b"{\"plan\":\"a\",\"plan\":\"b\"}"), 400, "bad_json"),
        (put("/orgs/acme", b"{\"price\":7}"), 400, "bad_json"),
        (put("/orgs/acme", b"{\"plan\":\"\xff\"}"), 400, "bad_json"),
        (put("/orgs/acme", b"{\"hosts\":[\"*\"]}"), 400, "bad_json"),
        (put("/orgs/acme", b"{\"hosts\":[\"id:7\"]}"), 400, "bad_json"),
        (put("/orgs/AC*ME", b"{}"), 400, "bad_path"),
        (put("/orgs/id%3A7", b"{}"), 400, "bad_path"),
        (put("/orgs/%ff", b"{}"), 400, "bad_path"),
        (put("/users/7/role", b"{\"role\":\"owner\"}"), 400, "bad_path"),
        (lone("DELETE /org"), 405, "method_not_allowed"),
        (lone("GET /orgs/acme"), 405, "method_not_allowed"),
        (lone("GET /tokens/7/revoke"), 405, "method_not_allowed"),
        (lone("GET /nowhere"), 404, "not_found"),
        (lone("GET /org/"), 404, "not_found"),
    ] {
        let shown = String::from_utf8_lossy(&request[..request.len().min(80)]).into_owned();
        let (found, head, body) = ask(addr, request).await;
        assert_eq!(
            (found, body["error"]["code"].as_str()),
            (status, Some(code)),
            "{shown}: {body}"
        );
        assert!(
            body["error"]["message"].as_str().is_some_and(|text| text.ends_with('.')),
            "{shown}: {body}"
        );
        assert_eq!(head.contains("\nallow:"), status == 405, "{shown}: {head}");
    }
    assert_eq!(fleet.org(0, "acme").await["version"], 1, "nothing was changed");
    fleet.shutdown().await;
}
