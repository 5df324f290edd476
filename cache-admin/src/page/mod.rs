//! `GET /`: the page. It holds no data: it asks for a token and reads the API with it.

use std::sync::LazyLock;

use axum::http::{HeaderName, header};
use axum::response::{Html, IntoResponse};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, digest};

const STYLE: &str = include_str!("style.css");
const CHARTS: &str = include_str!("charts.js");
const SCRIPT: &str = include_str!("page.js");

struct Page {
    html: String,
    /// What the page may do: run its own script and style and ask its own origin.
    policy: String,
}

static PAGE: LazyLock<Page> = LazyLock::new(|| {
    let script = format!("\"use strict\";\n{CHARTS}{SCRIPT}");
    let html = include_str!("page.html").replace("{{style}}", STYLE).replace("{{script}}", &script);
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; connect-src 'self'; \
         img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        encoded(STYLE),
        encoded(&script),
    );
    Page { html, policy }
});

fn encoded(text: &str) -> String {
    STANDARD.encode(digest(&SHA256, text.as_bytes()))
}

pub(crate) async fn show() -> impl IntoResponse {
    let policy: (HeaderName, &str) = (header::CONTENT_SECURITY_POLICY, &PAGE.policy);
    ([policy], Html(PAGE.html.as_str()))
}
