//! How the service says no: a status, a code for programs and a sentence for people, as JSON.

use std::error::Error;

use axum::Json;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use cache_services::{CacheError, LockError};
use serde::Serialize;
use tokio::task::JoinError;

use crate::database::{ChangeError, DatabaseError};

/// An answer that says what is wrong.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    message: String,
    header: Option<(HeaderName, HeaderValue)>,
}

impl Problem {
    /// An answer with this status, code and sentence.
    #[must_use]
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), header: None }
    }

    pub(crate) fn bad_request(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// The request has to prove who it comes from.
    pub(crate) fn unauthorized(code: &'static str, message: impl Into<String>) -> Self {
        let problem = Self::new(StatusCode::UNAUTHORIZED, code, message);
        problem.with(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
    }

    /// The token that was shown is worth nothing.
    pub(crate) fn bad_token() -> Self {
        Self::unauthorized("bad_token", "The token is unknown, revoked or over.")
    }

    /// What was begun in a task came to no end that is known.
    pub(crate) fn unknown_outcome(error: &JoinError, message: &str) -> Self {
        tracing::error!(error = error as &dyn Error, "a task did not come to its end");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "unknown_outcome", message)
    }

    /// The same request may succeed in a moment.
    pub(crate) fn try_again(code: &'static str, message: impl Into<String>) -> Self {
        let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message);
        problem.with(header::RETRY_AFTER, HeaderValue::from_static("1"))
    }

    pub(crate) fn with(self, name: HeaderName, value: HeaderValue) -> Self {
        Self { header: Some((name, value)), ..self }
    }
}

/// `{"error": {"code": .., "message": ..}}`, as cache-admin answers too.
#[derive(Serialize)]
struct Body<'a> {
    error: Fault<'a>,
}

#[derive(Serialize)]
struct Fault<'a> {
    code: &'a str,
    message: &'a str,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let headers: HeaderMap = self.header.into_iter().collect();
        let body = Json(Body { error: Fault { code: self.code, message: &self.message } });
        (self.status, headers, body).into_response()
    }
}

/// What the caller is told when something of ours is to blame; the log has the reason.
const NO_ANSWER: &str = "The service cannot answer this now. Try again in a moment.";

impl From<DatabaseError> for Problem {
    fn from(error: DatabaseError) -> Self {
        tracing::error!(error = &error as &dyn Error, "the database gave no answer");
        Self::try_again("database_unavailable", NO_ANSWER)
    }
}

impl From<CacheError> for Problem {
    /// A load that failed, or a cache that did: which one stands in the log.
    fn from(error: CacheError) -> Self {
        tracing::error!(error = &error as &dyn Error, "a lookup failed");
        Self::try_again("lookup_failed", NO_ANSWER)
    }
}

impl From<LockError> for Problem {
    fn from(error: LockError) -> Self {
        tracing::warn!(error = &error as &dyn Error, "a lock was not to be had");
        Self::try_again("lock_unavailable", NO_ANSWER)
    }
}

impl From<ChangeError> for Problem {
    fn from(error: ChangeError) -> Self {
        let (status, code) = match error {
            ChangeError::Database(error) => return error.into(),
            ChangeError::NotFound(_) => (StatusCode::NOT_FOUND, "not_found"),
            ChangeError::UnknownRole(_) => (StatusCode::UNPROCESSABLE_ENTITY, "unknown_role"),
            ChangeError::HostTaken(_) => (StatusCode::CONFLICT, "host_taken"),
        };
        Self::new(status, code, format!("Nothing was changed: {error}."))
    }
}
