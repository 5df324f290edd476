//! `POST /warm`, and how far it has come: `GET /warm`, `GET /warm/{id}`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{StatusCode, Uri};
use cache_services::{Warm, WarmLoaderInfo, WarmProgress, Warmer};
use serde::{Deserialize, Serialize};

use crate::audit::{self, Audit};
use crate::body::{self, True};
use crate::error::ApiError;
use crate::guard::{Reader, Writer};
use crate::router::Shared;

const SHAPE: &str = r#"one of {"keys": [".."]}, {"loader": ".."} and {"all": true}"#;

/// One of these, and no more than one.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum What {
    Keys(Vec<String>),
    Loader(String),
    All(True),
}

#[derive(Serialize)]
pub(crate) struct Overview {
    loaders: Vec<WarmLoaderInfo>,
    runs: Vec<WarmProgress>,
}

pub(crate) async fn begin(
    State(shared): State<Arc<Shared>>,
    Writer(caller): Writer,
    request: Request,
) -> Result<(StatusCode, Json<WarmProgress>), ApiError> {
    let (what, in_words) = match body::read(request, shared.body_limit, SHAPE).await? {
        What::Keys(keys) if keys.is_empty() => {
            return Err(ApiError::bad_request("invalid_request", "no keys are named"));
        }
        What::Keys(keys) => {
            let in_words = audit::keys(&keys);
            (Warm::Keys(keys), in_words)
        }
        What::Loader(name) => {
            let in_words = format!("loader {name:?}");
            (Warm::Loader(name), in_words)
        }
        What::All(True) => (Warm::All, "all loaders".to_owned()),
    };
    let audit = Audit::begin(caller, "warm", in_words);
    let begun = warmer(&shared).and_then(|warmer| Ok(warmer.warm(what)?.progress()));
    let progress = audit.end(begun, |progress| format!("begun as run {}", progress.id))?;
    Ok((StatusCode::ACCEPTED, Json(progress)))
}

pub(crate) async fn overview(
    State(shared): State<Arc<Shared>>,
    Reader(_): Reader,
) -> Result<Json<Overview>, ApiError> {
    let warmer = warmer(&shared)?;
    Ok(Json(Overview { loaders: warmer.loaders(), runs: warmer.runs() }))
}

pub(crate) async fn show(
    State(shared): State<Arc<Shared>>,
    Reader(_): Reader,
    uri: Uri,
) -> Result<Json<WarmProgress>, ApiError> {
    let id = uri.path().strip_prefix("/warm/").and_then(|id| id.parse().ok());
    let run = warmer(&shared)?.run(id.unwrap_or(0));
    run.map(Json).ok_or_else(|| ApiError::not_found("no recent warm-up has this number"))
}

fn warmer(shared: &Shared) -> Result<&Warmer, ApiError> {
    shared.warmer.as_ref().ok_or_else(|| {
        let message = "this service has registered no loaders to warm its cache up with";
        ApiError::new(StatusCode::NOT_FOUND, "no_warmer", message)
    })
}
