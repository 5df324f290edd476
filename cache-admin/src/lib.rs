#![doc = include_str!("../README.md")]

mod audit;
mod auth;
mod body;
mod entries;
mod error;
mod guard;
mod health;
mod key;
mod locks;
mod metrics;
mod page;
mod removal;
mod router;
mod stats;
mod warm;

pub use auth::{AdminAuth, Rights};
pub use health::Part;
pub use metrics_exporter_prometheus::PrometheusHandle;
pub use router::{AdminRouter, admin_router};
