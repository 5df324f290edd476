//! What changes something: the database first, then every key that it was cached under.
//!
//! Both happen in a task of their own. A client that hangs up between the two would otherwise leave
//! the old value in the cache.

use std::error::Error;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use cache_services::CacheServiceExt;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::app::App;
use crate::database::{ChangeError, OrgChange};
use crate::identity::{Slug, keys_of, user_key};
use crate::input::{InPath, JsonBody};
use crate::model::{Org, Token, User};
use crate::problem::Problem;
use crate::secret::shortened;

/// The most hosts that an organisation has.
const MOST_HOSTS: usize = 20;

/// What was changed, as it is now.
#[derive(Debug, Serialize)]
struct Changed<T> {
    #[serde(flatten)]
    now: T,
    invalidation: Invalidation,
}

/// Whether the caches have been told.
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Invalidation {
    /// Nobody is answered with the old value from now on, or on other instances from a moment later.
    Done,
    /// The database has changed, and this instance answers with it. Redis could not be told; it will be
    /// when it is back.
    Pending,
}

impl<T: Serialize> IntoResponse for Changed<T> {
    fn into_response(self) -> Response {
        let status = match self.invalidation {
            Invalidation::Done => StatusCode::OK,
            // It is true in the database, and will be everywhere.
            Invalidation::Pending => StatusCode::ACCEPTED,
        };
        (status, Json(self)).into_response()
    }
}

/// Makes a change and then has every cache forget what it was about. Runs on when the caller goes away.
async fn change<T, Fut>(
    app: &App,
    make: impl FnOnce(App) -> Fut + Send + 'static,
    keys: impl FnOnce(&T) -> Vec<String> + Send + 'static,
) -> Result<(T, Invalidation), Problem>
where
    T: Send + 'static,
    Fut: Future<Output = Result<T, ChangeError>> + Send + 'static,
{
    let done = app.clone();
    let task = app.tasks().spawn(async move {
        let changed = make(done.clone()).await?;
        let keys = keys(&changed);
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let invalidation = match done.cache().invalidate_many(&keys).await {
            Ok(()) => Invalidation::Done,
            Err(error) => {
                let error = &error as &dyn Error;
                let keys: Vec<String> = keys.into_iter().map(shortened).collect();
                tracing::warn!(error, ?keys, "an invalidation is to be made up for");
                Invalidation::Pending
            }
        };
        Ok::<_, ChangeError>((changed, invalidation))
    });
    match task.await {
        Ok(done) => Ok(done?),
        Err(error) => {
            let message = "It is not known whether this was changed. Look, or try again.";
            Err(Problem::unknown_outcome(&error, message))
        }
    }
}

/// `PUT /orgs/{slug}`: what is to be another about an organisation.
pub(crate) async fn put_org(
    State(app): State<App>,
    InPath(slug): InPath<Slug>,
    JsonBody(wanted): JsonBody<OrgChange>,
) -> Result<impl IntoResponse, Problem> {
    check(&wanted)?;
    let make = move |app: App| async move { app.database().change_org(&slug, wanted).await };
    // The hosts it had and the hosts it has: those that were unknown so far may be remembered as such.
    let keys = |(before, after): &(Org, Org)| {
        let mut keys = keys_of(after);
        keys.extend(keys_of(before));
        keys.sort_unstable();
        keys.dedup();
        keys
    };
    let ((_, now), invalidation) = change(&app, make, keys).await?;
    Ok(Changed { now, invalidation })
}

fn check(wanted: &OrgChange) -> Result<(), Problem> {
    let OrgChange { plan, name, active, hosts } = wanted;
    let bad = |message| Err(Problem::bad_request("bad_change", message));
    let odd = |text: &Option<String>, longest| {
        text.as_ref().is_some_and(|text| {
            text.is_empty() || text.len() > longest || text.chars().any(char::is_control)
        })
    };
    if plan.is_none() && name.is_none() && active.is_none() && hosts.is_none() {
        return bad("There is nothing to change: name plan, name, active or hosts.");
    }
    if odd(plan, 64) {
        return bad("plan must have 1 to 64 bytes without control characters.");
    }
    if odd(name, 200) {
        return bad("name must have 1 to 200 bytes without control characters.");
    }
    if hosts.as_ref().is_some_and(|hosts| hosts.len() > MOST_HOSTS) {
        return bad("hosts must be 20 at most.");
    }
    Ok(())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RoleChange {
    role: String,
}

/// `PUT /users/{id}/role`: another role for a user.
pub(crate) async fn put_role(
    State(app): State<App>,
    InPath(id): InPath<Uuid>,
    JsonBody(RoleChange { role }): JsonBody<RoleChange>,
) -> Result<impl IntoResponse, Problem> {
    let make = move |app: App| async move { app.database().change_role(id, role).await };
    let keys = |user: &User| vec![user_key(user.id)];
    let (now, invalidation) = change(&app, make, keys).await?;
    Ok(Changed { now, invalidation })
}

/// `POST /tokens/{id}/revoke`: the token is worth nothing from now on, and neither is the session it was
/// exchanged for.
pub(crate) async fn revoke(
    State(app): State<App>,
    InPath(id): InPath<Uuid>,
) -> Result<impl IntoResponse, Problem> {
    let make = move |app: App| async move { app.database().revoke(id).await };
    let keys = |revoked: &crate::database::Revoked| {
        vec![revoked.hash.token_key(), revoked.hash.session_key()]
    };
    let (revoked, invalidation) = change(&app, make, keys).await?;
    Ok(Changed::<Token> { now: revoked.token, invalidation })
}
