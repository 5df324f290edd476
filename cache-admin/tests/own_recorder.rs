//! Metrics in a process that has a recorder of its own. One test: the recorder is the process's.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod harness;

use harness::{ALL, admin, get, in_process};
use metrics_exporter_prometheus::PrometheusBuilder;

#[tokio::test]
async fn the_applications_recorder_is_used_if_its_handle_is_there() {
    let handle = PrometheusBuilder::new().install_recorder().unwrap();
    metrics::counter!("app_requests_total").increment(1);
    let services = in_process().await;
    let without = admin(&services).build();
    let refused = get(&without, ALL, "/metrics").await;
    assert_eq!(refused.error(), (404, "no_metrics".into()));
    assert!(refused.text.contains("handle"), "{}", refused.text);
    let with = admin(&services).prometheus(handle).build();
    assert!(get(&with, ALL, "/metrics").await.text.contains("app_requests_total 1"));
}
