//! `POST /invalidate` and `POST /clear`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use cache_services::{CacheStore, Selector};
use serde::{Deserialize, Serialize};

use crate::audit::{self, Audit};
use crate::auth::Caller;
use crate::body::{self, True};
use crate::error::ApiError;
use crate::guard::Writer;
use crate::router::Shared;

const SHAPE: &str = r#"one of {"keys": [".."]}, {"prefix": ".."} and {"all": true}"#;

/// One of these, and no more than one.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum What {
    Keys(Vec<String>),
    Prefix(String),
    All(True),
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Serialize)]
pub(crate) struct Removed {
    /// Entries; absent where the backend does not know.
    removed: Option<u64>,
}

pub(crate) async fn invalidate(
    State(shared): State<Arc<Shared>>,
    Writer(caller): Writer,
    request: Request,
) -> Result<Json<Removed>, ApiError> {
    let invalid = |message: &str| Err(ApiError::bad_request("invalid_request", message));
    let (what, in_words) = match body::read(request, shared.body_limit, SHAPE).await? {
        What::Keys(keys) if keys.is_empty() => return invalid("no keys are named"),
        What::Keys(keys) => {
            let in_words = audit::keys(&keys);
            (Selector::Keys(keys), in_words)
        }
        What::Prefix(prefix) if prefix.is_empty() => {
            return invalid(
                "the prefix is empty, which is everything: say {\"all\": true} for that",
            );
        }
        What::Prefix(prefix) => {
            let in_words = format!("prefix {prefix:?}");
            (Selector::Prefix(prefix), in_words)
        }
        What::All(True) => (Selector::All, "everything".to_owned()),
    };
    remove(&shared, caller, "invalidate", &what, in_words).await
}

pub(crate) async fn clear(
    State(shared): State<Arc<Shared>>,
    Writer(caller): Writer,
    request: Request,
) -> Result<Json<Removed>, ApiError> {
    let Nothing {} = body::read_optional(request, shared.body_limit).await?;
    remove(&shared, caller, "clear", &Selector::All, "everything".to_owned()).await
}

async fn remove(
    shared: &Shared,
    caller: Caller,
    action: &'static str,
    what: &Selector,
    in_words: String,
) -> Result<Json<Removed>, ApiError> {
    let audit = Audit::begin(caller, action, in_words);
    let removed = shared.services.cache().remove(what).await.map_err(ApiError::from);
    let removed = audit.end(removed, |removed| match removed {
        Some(entries) => format!("removed {entries}"),
        None => "removed".to_owned(),
    })?;
    Ok(Json(Removed { removed }))
}
