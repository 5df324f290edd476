//! `GET /locks`, `GET /locks/{key}` and `POST /locks/{key}/release`.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{StatusCode, Uri};
use cache_services::{ConcurrencyService, FencingToken, LockInfo};
use serde::{Deserialize, Serialize};

use crate::audit::Audit;
use crate::body;
use crate::error::ApiError;
use crate::guard::{Reader, Writer};
use crate::key;
use crate::router::Shared;

/// Locks that are listed at most.
const LISTED: usize = 1_000;

#[derive(Serialize)]
pub(crate) struct Locks {
    locks: Vec<Lock>,
    /// There may be more than were listed.
    more: bool,
}

#[derive(Serialize)]
pub(crate) struct Lock {
    key: String,
    holder: String,
    fence: FencingToken,
    remaining_ms: u64,
    held_for_ms: u64,
    waiters: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    fence: FencingToken,
}

#[derive(Serialize)]
pub(crate) struct Released {
    released: bool,
}

pub(crate) async fn list(
    State(shared): State<Arc<Shared>>,
    Reader(_): Reader,
) -> Result<Json<Locks>, ApiError> {
    let mut found = shared.services.concurrency().list(LISTED).await?;
    found.sort_by(|a, b| a.key.cmp(&b.key));
    let more = found.len() >= LISTED;
    Ok(Json(Locks { locks: found.into_iter().map(Lock::from).collect(), more }))
}

pub(crate) async fn show(
    State(shared): State<Arc<Shared>>,
    Reader(_): Reader,
    uri: Uri,
) -> Result<Json<Lock>, ApiError> {
    let key = key::decode(named(&uri))?;
    match shared.services.concurrency().inspect(&key).await? {
        Some(info) => Ok(Json(info.into())),
        None => Err(ApiError::not_found("nobody holds a lock with this key")),
    }
}

pub(crate) async fn release(
    State(shared): State<Arc<Shared>>,
    Writer(caller): Writer,
    request: Request,
) -> Result<Json<Released>, ApiError> {
    // Before it is decoded: a key may end so itself.
    let Some(raw) = named(request.uri()).strip_suffix("/release") else {
        return Err(ApiError::not_found("what can be done with a lock is 'release'"));
    };
    let key = key::decode(raw)?;
    let Expected { fence } = body::read(request, shared.body_limit, r#"{"fence": n}"#).await?;
    let audit = Audit::begin(caller, "release_lock", format!("lock {key:?} with fence {fence}"));
    let released = match shared.services.concurrency().force_release(&key, fence).await {
        Ok(true) => Ok(Released { released: true }),
        Ok(false) => {
            let message = "no holder of the lock has this fence: it was released or granted anew";
            Err(ApiError::new(StatusCode::CONFLICT, "fence_mismatch", message))
        }
        Err(error) => Err(error.into()),
    };
    audit.end(released, |_| "released").map(Json)
}

fn named(uri: &Uri) -> &str {
    uri.path().strip_prefix("/locks/").unwrap_or_default()
}

impl From<LockInfo> for Lock {
    fn from(info: LockInfo) -> Self {
        let LockInfo { key, holder, fencing_token, remaining, held_for, waiters, .. } = info;
        let (remaining_ms, held_for_ms) = (millis(remaining), millis(held_for));
        Self { key, holder, fence: fencing_token, remaining_ms, held_for_ms, waiters }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
