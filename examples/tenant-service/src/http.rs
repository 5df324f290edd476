//! The addresses of the service.

use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use serde::Serialize;

use crate::app::App;
use crate::context::{Caller, Tenant, one, resolve};
use crate::identity::Slug;
use crate::model::User;
use crate::problem::Problem;
use crate::{changes, session};

/// The service, with `more` routes. Their handlers may ask for the [`Tenant`], the [`Caller`] and the
/// [`App`].
pub fn router(app: App, more: Router<App>) -> Router {
    let of_tenant = Router::new()
        .route("/org", get(org))
        .route("/me", get(me))
        .route("/session/refresh", post(session::refresh))
        .merge(more)
        .route_layer(from_fn_with_state(app.clone(), resolve));
    let changes = Router::new()
        .route("/orgs/{slug}", put(changes::put_org))
        .route("/users/{id}/role", put(changes::put_role))
        .route("/tokens/{id}/revoke", post(changes::revoke))
        .route_layer(from_fn_with_state(app.clone(), may_change));
    Router::new()
        .merge(of_tenant)
        .merge(changes)
        .layer(from_fn_with_state(app.clone(), in_bounds))
        .route("/health", get(|| async { Json(serde_json::json!({ "status": "ok" })) }))
        .fallback(|| async {
            Problem::new(StatusCode::NOT_FOUND, "not_found", "There is nothing at this address.")
        })
        .method_not_allowed_fallback(|| async {
            let message = "This address does not take that method; the header allow says which.";
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
        })
        .with_state(app)
}

/// `GET /org`: the organisation of the request.
async fn org(Tenant(org): Tenant) -> Response {
    Json(&*org).into_response()
}

/// Who asks, of which organisation.
#[derive(Serialize)]
struct Me<'a> {
    organisation: &'a Slug,
    user: &'a User,
    token: uuid::Uuid,
    expires_at: u64,
}

/// `GET /me`: whose token it is, and what it allows.
async fn me(tenant: Tenant, caller: Caller) -> Response {
    let Caller { token, user, hash: _ } = caller;
    let (token, expires_at) = (token.id, token.expires_at);
    Json(Me { organisation: &tenant.slug, user: &user, token, expires_at }).into_response()
}

/// Lets changes through from whoever shows the token for them, if one is set.
async fn may_change(
    State(app): State<App>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    if let Some(token) = app.change_token()
        && !token.allows(one(request.headers(), &header::AUTHORIZATION)?)
    {
        let message = "Changes need their token: Authorization: Bearer <CHANGE_TOKEN>.";
        return Err(Problem::unauthorized("no_right_to_change", message));
    }
    Ok(next.run(request).await)
}

/// Keeps requests within the rate and the time that the settings allow.
async fn in_bounds(
    State(app): State<App>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    if !app.live().admits() {
        let message = "This instance is asked more often than it may answer.";
        let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", message);
        return Err(problem.with(header::RETRY_AFTER, HeaderValue::from_static("1")));
    }
    let timeout = app.live().settings().request_timeout;
    let message = match request.method().is_safe() {
        true => "This took longer than a request may take.",
        // What was begun goes on in a task of its own.
        false => {
            "This took longer than a request may take. What it asked for may have been done all the \
             same, or may still be: look before you try again."
        }
    };
    let answered = tokio::time::timeout(timeout, next.run(request)).await;
    answered.map_err(|_| Problem::try_again("took_too_long", message))
}
