//! `GET /stats`: every figure there is, as it stands.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use cache_services::{
    CacheStats, CacheStore, ConnectionState, ConnectionStats, FarLatency, TierStats,
};
use serde::Serialize;

use crate::guard::Reader;
use crate::router::Shared;

#[derive(Serialize)]
pub(crate) struct Stats {
    /// When this was read, in milliseconds since the Unix epoch, on the cache's clock.
    time_ms: u64,
    cache: Cache,
    /// What goes on between the tiers; absent in process.
    tiers: Option<Tiers>,
    /// The connections; absent in process.
    redis: Option<Redis>,
}

#[derive(Serialize)]
struct Cache {
    #[serde(flatten)]
    counters: CacheStats,
    hit_ratio: f64,
}

#[derive(Serialize)]
struct Tiers {
    has_near: bool,
    near_served: bool,
    bus_up: bool,
    far_open: bool,
    bus_open: bool,
    far_reads: u64,
    near_refused: u64,
    heard: u64,
    told: u64,
    bus_losses: u64,
    replays_pending: usize,
    replays_dropped: u64,
    far_latency: Vec<Step>,
}

/// Calls of the far tier that took less than `below_us`, but not less than the step before.
#[derive(Serialize)]
struct Step {
    below_us: Option<u64>,
    calls: u64,
}

#[derive(Serialize)]
struct Redis {
    state: &'static str,
    open: usize,
    reconnects: u64,
    failed_attempts: u64,
    silent_peers: u64,
    timeouts: u64,
    failures: u64,
    last_fault: Option<String>,
}

pub(crate) async fn show(State(shared): State<Arc<Shared>>, Reader(_): Reader) -> Json<Stats> {
    let cache = shared.services.cache();
    let counters = cache.stats();
    Json(Stats {
        time_ms: cache.clock().now().as_micros() / 1_000,
        cache: Cache { hit_ratio: counters.hit_ratio(), counters },
        tiers: shared.services.tier_stats().map(Tiers::from),
        redis: shared.services.connection_stats().map(Redis::from),
    })
}

fn steps(latency: &FarLatency) -> Vec<Step> {
    let micros = |bound: Duration| u64::try_from(bound.as_micros()).unwrap_or(u64::MAX);
    latency.steps().map(|(bound, calls)| Step { below_us: bound.map(micros), calls }).collect()
}

impl From<TierStats> for Tiers {
    fn from(stats: TierStats) -> Self {
        Self {
            has_near: stats.has_near,
            near_served: stats.near_served,
            bus_up: stats.bus_up,
            far_open: stats.far_open,
            bus_open: stats.bus_open,
            far_reads: stats.far_reads,
            near_refused: stats.near_refused,
            heard: stats.heard,
            told: stats.told,
            bus_losses: stats.bus_losses,
            replays_pending: stats.replays_pending,
            replays_dropped: stats.replays_dropped,
            far_latency: steps(&stats.far_latency),
        }
    }
}

impl From<ConnectionStats> for Redis {
    fn from(stats: ConnectionStats) -> Self {
        let state = match stats.state {
            ConnectionState::Connecting => "connecting",
            ConnectionState::Up => "up",
            ConnectionState::Down => "down",
            ConnectionState::Closed => "closed",
            _ => "unknown",
        };
        Self {
            state,
            open: stats.open,
            reconnects: stats.reconnects,
            failed_attempts: stats.failed_attempts,
            silent_peers: stats.silent_peers,
            timeouts: stats.timeouts,
            failures: stats.failures,
            last_fault: stats.last_fault,
        }
    }
}
