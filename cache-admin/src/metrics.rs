//! `GET /metrics`: what was recorded through the `metrics` facade, as text for Prometheus.
//!
//! The facade has one recorder per process. Where the application has installed its own, it hands
//! its handle over; else one is installed here, once, and lives as long as the process.

use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use cache_services::DURATION_BUCKETS;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use crate::error::ApiError;
use crate::guard::Reader;
use crate::router::Shared;

/// How often histograms are drained into their buckets, so that they do not grow while nobody
/// scrapes.
const UPKEEP: Duration = Duration::from_secs(5);

/// The recorder installed here, if any. Its thread sleeps between upkeeps and ends with the process.
static INSTALLED: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

/// The handle to the process's recorder, which is installed if there is none yet. `None` if there is
/// one whose handle nobody has told of.
pub(crate) fn installed() -> Option<PrometheusHandle> {
    INSTALLED.get_or_init(install).clone()
}

fn install() -> Option<PrometheusHandle> {
    let recorder = PrometheusBuilder::new().set_buckets(&DURATION_BUCKETS).ok()?.build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).ok()?;
    let kept_up = handle.clone();
    let upkeep = move || {
        loop {
            thread::sleep(UPKEEP);
            kept_up.run_upkeep();
        }
    };
    if let Err(error) = thread::Builder::new().name("cache-admin-metrics".into()).spawn(upkeep) {
        tracing::warn!(%error, "metrics are drained only when they are scraped");
    }
    Some(handle)
}

pub(crate) async fn show(
    State(shared): State<Arc<Shared>>,
    Reader(_): Reader,
) -> Result<Response, ApiError> {
    let Some(handle) = &shared.prometheus else {
        let message = "the application has a metrics recorder of its own and has not handed its \
                       Prometheus handle over";
        return Err(ApiError::new(StatusCode::NOT_FOUND, "no_metrics", message));
    };
    shared.services.publish_metrics();
    let text = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    Ok((text, handle.render()).into_response())
}
