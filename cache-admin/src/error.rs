//! What went wrong, as callers are told: a status, a code for programs and a sentence for people.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use cache_services::{CacheError, ErrorKind, LockError, LockErrorKind, in_words};
use serde::Serialize;

/// An answer that is an error: `{"error": {"code": .., "message": ..}}`.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    pub(crate) code: &'static str,
    message: String,
}

#[derive(Serialize)]
struct Body<'a> {
    error: Fault<'a>,
}

#[derive(Serialize)]
struct Fault<'a> {
    code: &'a str,
    message: &'a str,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    pub(crate) fn bad_request(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    /// The same whoever asks, and whatever was wrong with the token.
    pub(crate) fn unauthorized() -> Self {
        let message = "this takes a known token in the header 'Authorization: Bearer <token>'";
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
    }

    pub(crate) fn forbidden(right: &str) -> Self {
        let message = format!("the token does not have the right to {right}");
        Self::new(StatusCode::FORBIDDEN, "forbidden", message)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let Self { status, code, message } = self;
        let body = Json(Body { error: Fault { code, message: &message } });
        let mut response = (status, body).into_response();
        if status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static(r#"Bearer realm="cache-admin""#);
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

impl From<CacheError> for ApiError {
    fn from(error: CacheError) -> Self {
        let (status, code) = match error.kind() {
            ErrorKind::InvalidKey => (StatusCode::BAD_REQUEST, "invalid_key"),
            ErrorKind::Config => (StatusCode::BAD_REQUEST, "invalid_request"),
            ErrorKind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
            ErrorKind::Timeout => (StatusCode::GATEWAY_TIMEOUT, "timeout"),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "backend"),
        };
        Self::new(status, code, in_words(&error))
    }
}

impl From<LockError> for ApiError {
    fn from(error: LockError) -> Self {
        let (status, code) = match error.kind() {
            LockErrorKind::InvalidKey => (StatusCode::BAD_REQUEST, "invalid_key"),
            LockErrorKind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
            LockErrorKind::Timeout => (StatusCode::GATEWAY_TIMEOUT, "timeout"),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "backend"),
        };
        Self::new(status, code, in_words(&error))
    }
}
