//! `GET /entries/{key}`: where an entry is held, for how long, how large, and what it is.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use cache_services::{Entry, Timestamp, in_words};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::auth::Rights;
use crate::error::ApiError;
use crate::guard::Reader;
use crate::key;
use crate::router::Shared;

#[derive(Serialize)]
pub(crate) struct Shown {
    key: String,
    near: Option<Tier>,
    far: Option<Tier>,
    /// Why the far tier did not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    far_error: Option<String>,
    #[serde(flatten)]
    value: Option<Value>,
}

/// The entry in one tier.
#[derive(Serialize)]
struct Tier {
    /// `fresh`, or `stale`: served only where a policy allows it.
    state: &'static str,
    /// Whether it says that there is no value.
    absent: bool,
    /// How long it is fresh; absent: for good.
    ttl_ms: Option<u64>,
    /// How long it may be served, stale or not; absent: for good.
    servable_ms: Option<u64>,
    /// The encoded value's size.
    bytes: usize,
    /// Whether this tier answers lookups just now.
    served: bool,
}

/// The value, for those who may see it.
#[derive(Serialize)]
#[serde(tag = "value_format", content = "value", rename_all = "lowercase")]
enum Value {
    Json(Box<RawValue>),
    Text(String),
}

pub(crate) async fn show(
    State(shared): State<Arc<Shared>>,
    Reader(caller): Reader,
    uri: Uri,
) -> Result<Json<Shown>, ApiError> {
    let key = key::decode(uri.path().strip_prefix("/entries/").unwrap_or_default())?;
    let held = shared.services.locate(&key).await?;
    let (far, failed) = match held.far {
        None => (None, None),
        Some(Ok(far)) => (far, None),
        Some(Err(error)) => (None, Some(error)),
    };
    let Some(entry) = held.near.as_ref().or(far.as_ref()) else {
        return Err(match failed {
            Some(error) => error.into(),
            None => ApiError::not_found("no tier holds an entry under this key"),
        });
    };
    let now = shared.services.cache().clock().now();
    let serves_near = shared.services.tier_stats().is_none_or(|tiers| tiers.near_served);
    let value = caller.rights.contains(Rights::VALUES).then(|| value(entry)).flatten();
    Ok(Json(Shown {
        near: held.near.as_ref().map(|entry| tier(entry, now, serves_near)),
        far: far.as_ref().map(|entry| tier(entry, now, true)),
        far_error: failed.as_ref().map(in_words),
        value,
        key,
    }))
}

fn tier(entry: &Entry, now: Timestamp, served: bool) -> Tier {
    Tier {
        state: if entry.is_fresh(now) { "fresh" } else { "stale" },
        absent: entry.is_absent(),
        ttl_ms: millis(now.until(entry.fresh_until())),
        servable_ms: millis(now.until(entry.servable_until())),
        bytes: entry.bytes().map_or(0, <[u8]>::len),
        served,
    }
}

fn millis(left: Duration) -> Option<u64> {
    if left == Duration::MAX { None } else { u64::try_from(left.as_millis()).ok() }
}

fn value(entry: &Entry) -> Option<Value> {
    let text = String::from_utf8_lossy(entry.bytes()?);
    // As it is: through a number of our own, digits would be lost.
    match serde_json::from_str::<&RawValue>(&text) {
        Ok(json) => Some(Value::Json(json.to_owned())),
        Err(_) => Some(Value::Text(text.into_owned())),
    }
}
