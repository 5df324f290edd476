//! What operators see and do, on a port of its own: the admin API of the family, and what this service
//! counts itself.

use std::collections::HashMap;

use axum::extract::Request;
use axum::http::header;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use cache_admin::{AdminAuth, AdminRouter, Part, Rights};
use cache_services::{CacheError, WarmLoader, Warmer};

use crate::app::App;
use crate::context::one;
use crate::database::DatabaseError;
use crate::identity::{Identity, keys_of};
use crate::live::Ttl;
use crate::metrics;
use crate::model::Org;
use crate::problem::Problem;
use crate::secret::Secret;

/// The admin API with `GET /service` beside it, and what warms up for it. Without a token it refuses
/// everything but `GET /health`.
pub(crate) fn router(app: &App, token: Option<&Secret>) -> Result<(Router, Warmer), CacheError> {
    let mut auth = AdminAuth::new();
    if let Some(token) = token {
        auth = auth.with_token("operator", token.reveal(), Rights::ALL)?;
    }
    let organisations = warm_organisations(app);
    let warmer = Warmer::builder(app.cache()).loader(organisations).build()?;
    // Requests are answered without Redis too: an outage is no reason to take the instance out.
    let admin = [Part::Near, Part::Far, Part::Bus, Part::Breaker]
        .into_iter()
        .fold(AdminRouter::new(app.services().clone(), auth), AdminRouter::tolerate)
        .warmer(warmer.clone())
        .open_health()
        .build();
    let (counting, token) = (app.clone(), token.cloned());
    let counts = move |request: Request| async move { counts(&counting, token.as_ref(), &request) };
    let publishing = app.clone();
    let publish = move |request: Request, next: Next| {
        // `/metrics` shows what has been handed over before.
        if request.uri().path() == "/metrics" {
            metrics::publish(publishing.counts());
        }
        next.run(request)
    };
    let router = Router::new().route("/service", get(counts)).fallback_service(admin);
    Ok((router.layer(from_fn(publish)), warmer))
}

/// Loads organisations under whatever they are asked for by, when an operator says so.
fn warm_organisations(app: &App) -> WarmLoader {
    let (loading, listing) = (app.database().clone(), app.database().clone());
    let load = move |keys: Vec<String>| {
        let database = loading.clone();
        async move {
            let mut orgs = HashMap::with_capacity(keys.len());
            for key in keys {
                let Some(identity) = Identity::from_key(&key) else { continue };
                if let Some(org) = database.org(identity).await? {
                    orgs.insert(key, org);
                }
            }
            Ok::<HashMap<String, Org>, DatabaseError>(orgs)
        }
    };
    let list = move || {
        let database = listing.clone();
        async move {
            let orgs = database.active_orgs().await?;
            Ok::<_, DatabaseError>(orgs.iter().flat_map(keys_of).collect())
        }
    };
    let policy = app.live().policy(Ttl::Organisation);
    WarmLoader::new("organisations", "org:", load).policy(policy).keys(list).at_start(false)
}

/// `GET /service`: what this instance has done.
fn counts(app: &App, token: Option<&Secret>, request: &Request) -> Response {
    // One that is there twice is none, as for the rest of the admin API.
    let shown = one(request.headers(), &header::AUTHORIZATION).ok().flatten();
    if token.is_some_and(|token| token.allows(shown)) {
        return Json(app.counts()).into_response();
    }
    let message = "Send the admin token: Authorization: Bearer <ADMIN_TOKEN>.";
    Problem::unauthorized("unauthorized", message).into_response()
}
