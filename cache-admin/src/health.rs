//! `GET /health`: near and far tier, bus and circuit breakers.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use cache_services::{CacheServices, CacheStats, CacheStore, ConnectionState, TierStats};
use serde::Serialize;

use crate::auth::Rights;
use crate::guard::Reader;
use crate::router::Shared;

/// What is looked up to see whether a far tier answers again.
const PROBE: &str = "cache-admin:health";

/// What health is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Part {
    /// The tier in the process: whether it is served.
    Near,
    /// Redis: whether there are connections to it.
    Far,
    /// What nodes hear of each other's removals over: whether it is up.
    Bus,
    /// The circuit breakers of far tier and bus: whether calls go through.
    Breaker,
}

#[derive(Serialize)]
pub(crate) struct Health {
    /// `ok`; `degraded`, in parts that are tolerated; or `failing`.
    status: &'static str,
    near: Near,
    far: Far,
    bus: Bus,
    breaker: Breaker,
    /// Invalidations that wait for the far tier or the bus to be back.
    replays_pending: usize,
}

#[derive(Serialize)]
struct Near {
    status: Status,
    entries: u64,
}

#[derive(Serialize)]
struct Far {
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    connections: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<String>,
}

#[derive(Serialize)]
struct Bus {
    status: Status,
}

/// What of it everybody may know.
#[derive(Serialize)]
struct Statuses {
    status: &'static str,
    near: Only,
    far: Only,
    bus: Only,
    breaker: Only,
}

#[derive(Serialize)]
struct Only {
    status: Status,
}

#[derive(Serialize)]
struct Breaker {
    status: Status,
    far_open: bool,
    bus_open: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Ok,
    Failing,
    /// There is none.
    Off,
}

impl Status {
    fn of(is_well: bool) -> Self {
        if is_well { Self::Ok } else { Self::Failing }
    }
}

impl Health {
    fn code(&self) -> StatusCode {
        match self.status {
            "failing" => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::OK,
        }
    }
}

impl From<&Health> for Statuses {
    fn from(health: &Health) -> Self {
        let Health { near, far, bus, breaker, .. } = health;
        let only = |status| Only { status };
        Self {
            status: health.status,
            near: only(near.status),
            far: only(far.status),
            bus: only(bus.status),
            breaker: only(breaker.status),
        }
    }
}

/// For those who may read.
pub(crate) async fn show(State(shared): State<Arc<Shared>>, Reader(_): Reader) -> Response {
    let health = examine(&shared.services, &shared.tolerated).await;
    (health.code(), Json(health)).into_response()
}

/// For everybody: to those who may not read it says how things are, and not why.
pub(crate) async fn open(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    let caller = shared.auth.identify(&headers);
    let reads = caller.is_some_and(|caller| caller.rights.contains(Rights::READ));
    let health = examine(&shared.services, &shared.tolerated).await;
    match reads {
        true => (health.code(), Json(health)).into_response(),
        false => (health.code(), Json(Statuses::from(&health))).into_response(),
    }
}

async fn examine(services: &CacheServices, tolerated: &[Part]) -> Health {
    let mut tiers = services.tier_stats();
    let redis = services.connection_stats();
    let is_up = redis.as_ref().is_none_or(|redis| redis.state == ConnectionState::Up);
    if is_up && tiers.is_some_and(|tiers| tiers.far_open) {
        // A breaker closes with a call that succeeds. A service without calls has none.
        let _ = services.locate(PROBE).await;
        tiers = services.tier_stats();
    }
    let CacheStats { entries, .. } = services.cache().stats();
    let TierStats { has_near, near_served, bus_up, far_open, bus_open, replays_pending, .. } =
        tiers.unwrap_or_default();
    let in_process = |status: Status| if tiers.is_some() { status } else { Status::Off };
    let near = match tiers {
        None => Status::Ok,
        Some(_) if !has_near => Status::Off,
        Some(_) => Status::of(near_served),
    };
    let far = in_process(Status::of(is_up));
    let bus = in_process(Status::of(bus_up));
    let breaker = in_process(Status::of(!far_open && !bus_open));
    let parts = [(Part::Near, near), (Part::Far, far), (Part::Bus, bus), (Part::Breaker, breaker)];
    let failing = parts.iter().filter(|(_, status)| *status == Status::Failing);
    let status = match failing.map(|(part, _)| tolerated.contains(part)).min() {
        None => "ok",
        Some(true) => "degraded",
        Some(false) => "failing",
    };
    let fault = redis.as_ref().filter(|_| !is_up).and_then(|redis| redis.last_fault.clone());
    Health {
        status,
        near: Near { status: near, entries },
        far: Far { status: far, connections: redis.map(|redis| redis.open), fault },
        bus: Bus { status: bus },
        breaker: Breaker { status: breaker, far_open, bus_open },
        replays_pending,
    }
}
