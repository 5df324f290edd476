//! [`AdminRouter`]: the routes, and what may be set.

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post};
use cache_services::{CacheServices, Warmer};
use metrics_exporter_prometheus::PrometheusHandle;

use crate::auth::AdminAuth;
use crate::error::ApiError;
use crate::health::Part;
use crate::{entries, guard, health, locks, metrics, page, removal, stats, warm};

const BODY_LIMIT: usize = 1024 * 1024;

/// The admin API and its page over `services`, for those whom `auth` knows.
///
/// The router answers everything it is asked, with a JSON error if need be: serve it on a port of its
/// own, or under a path with [`nest_service`](Router::nest_service), which finds the page with and without a
/// slash at the end. For `GET /metrics` it may install a recorder: see [`AdminRouter::build`].
///
/// ```
/// use cache_admin::{AdminAuth, Rights, admin_router};
/// use cache_services::CacheServices;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let services = CacheServices::from_env().await?;
/// let auth = AdminAuth::new().with_token("operator", "kvZs3bMzsdWkzvtc", Rights::ALL)?;
/// let app = admin_router(services, auth);
///
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
/// let serving = axum::serve(listener, app);
/// # drop(serving); Ok(()) }
/// ```
pub fn admin_router(services: CacheServices, auth: AdminAuth) -> Router {
    AdminRouter::new(services, auth).build()
}

/// [`admin_router`] with options.
///
/// ```
/// use cache_admin::{AdminAuth, AdminRouter, Part};
/// use cache_services::{CacheServices, Warmer};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), cache_services::CacheError> {
/// let services = CacheServices::from_env().await?;
/// let warmer = Warmer::builder(services.cache()).build()?; // with its loaders
/// let app = AdminRouter::new(services, AdminAuth::new())
///     .warmer(warmer)
///     .tolerate(Part::Bus)
///     .open_health()
///     .build();
/// # let _ = app; Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "nothing is made before `build`"]
pub struct AdminRouter {
    services: CacheServices,
    auth: AdminAuth,
    warmer: Option<Warmer>,
    tolerated: Vec<Part>,
    has_open_health: bool,
    prometheus: Option<PrometheusHandle>,
    body_limit: usize,
}

/// What handlers share.
pub(crate) struct Shared {
    pub(crate) services: CacheServices,
    pub(crate) auth: AdminAuth,
    pub(crate) warmer: Option<Warmer>,
    pub(crate) tolerated: Vec<Part>,
    pub(crate) prometheus: Option<PrometheusHandle>,
    pub(crate) body_limit: usize,
}

impl AdminRouter {
    /// The admin API over `services`, for those whom `auth` knows.
    pub fn new(services: CacheServices, auth: AdminAuth) -> Self {
        Self {
            services,
            auth,
            warmer: None,
            tolerated: Vec::new(),
            has_open_health: false,
            prometheus: None,
            body_limit: BODY_LIMIT,
        }
    }

    /// What `POST /warm` warms with; without it there is nothing to warm.
    pub fn warmer(mut self, warmer: Warmer) -> Self {
        self.warmer = Some(warmer);
        self
    }

    /// Leaves `GET /health` at 200 while `part` fails; it says `degraded` then. No part is tolerated
    /// unless said so. When Redis is lost so is the bus, and with it the near tier is bypassed: a
    /// service that is to stay in its load balancer meanwhile tolerates all four.
    pub fn tolerate(mut self, part: Part) -> Self {
        self.tolerated.push(part);
        self
    }

    /// Answers `GET /health` without a token, for probes that have none: with the status of the whole
    /// and of each part. What else there is to know, as what went wrong with Redis, takes
    /// [`READ`](crate::Rights::READ) as before.
    pub fn open_health(mut self) -> Self {
        self.has_open_health = true;
        self
    }

    /// The handle to the application's own recorder of metrics. Without it
    /// [`build`](Self::build) installs one for the process, unless there is one; then `GET /metrics`
    /// is an error that says so.
    pub fn prometheus(mut self, handle: PrometheusHandle) -> Self {
        self.prometheus = Some(handle);
        self
    }

    /// How many bytes the body of a request may have: 1 MiB unless said otherwise.
    pub fn body_limit(mut self, bytes: usize) -> Self {
        self.body_limit = bytes;
        self
    }

    /// The router.
    ///
    /// Without a handle from [`prometheus`](Self::prometheus), and if the `metrics` facade has no
    /// recorder yet, it installs one, which stays for as long as the process, with a thread that tidies
    /// it every 5 s. So an application that installs a recorder itself does that before.
    pub fn build(self) -> Router {
        let Self { services, auth, warmer, tolerated, has_open_health, prometheus, body_limit } =
            self;
        let prometheus = prometheus.or_else(metrics::installed);
        let shared = Shared { services, auth, warmer, tolerated, prometheus, body_limit };
        let shared = Arc::new(shared);

        let mut open = Router::new().route("/", get(page::show));
        let mut guarded = Router::new()
            .route("/stats", get(stats::show))
            .route("/entries/{*key}", get(entries::show))
            .route("/entries/", get(entries::show))
            .route("/invalidate", post(removal::invalidate))
            .route("/clear", post(removal::clear))
            .route("/warm", get(warm::overview).post(warm::begin))
            .route("/warm/{id}", get(warm::show))
            .route("/locks", get(locks::list))
            .route("/locks/", get(locks::show))
            .route("/locks/{*key}", get(locks::show).post(locks::release))
            .route("/metrics", get(metrics::show));
        match has_open_health {
            true => open = open.route("/health", get(health::open)),
            false => guarded = guarded.route("/health", get(health::show)),
        }
        let guarded = guarded
            .method_not_allowed_fallback(wrong_method)
            .fallback(nothing_here)
            .with_state(Arc::clone(&shared));
        // As one service: who is not known does not even learn which paths and methods there are.
        let guarded = Router::new()
            .fallback_service(guarded)
            .layer(from_fn_with_state(Arc::clone(&shared), guard::authenticate));
        open.method_not_allowed_fallback(wrong_method)
            .fallback_service(guarded)
            .layer(from_fn(guard::protect))
            .with_state(shared)
    }
}

async fn nothing_here() -> ApiError {
    ApiError::not_found("there is nothing under this path")
}

async fn wrong_method() -> ApiError {
    let message = "this path does not take this method; the header 'Allow' says which it takes";
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
}
