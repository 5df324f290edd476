//! The session that a token is exchanged for at the identity provider: once, however many ask for it
//! and wherever.
//!
//! In a task of its own: a client that hangs up would otherwise break off an exchange that others wait
//! for, and nobody would know what the provider made of it.

use std::error::Error;

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use cache_services::{CacheServiceExt, ConcurrencyServiceExt};

use crate::app::App;
use crate::clock;
use crate::context::Caller;
use crate::problem::Problem;
use crate::secret::TokenHash;
use crate::upstream::Session;

/// A session that ends sooner is exchanged for a new one.
const MARGIN: u64 = 5;

/// `POST /session/refresh`: a session that lasts, the present one or a new one.
pub(crate) async fn refresh(
    State(app): State<App>,
    caller: Caller,
) -> Result<impl IntoResponse, Problem> {
    let refreshing = app.tasks().spawn(refreshed(app.clone(), caller.hash));
    match refreshing.await {
        Ok(session) => session.map(Json),
        Err(error) => {
            let message = "It is not known whether the token was exchanged. Try again.";
            Err(Problem::unknown_outcome(&error, message))
        }
    }
}

async fn refreshed(app: App, token: TokenHash) -> Result<Session, Problem> {
    let (cache, key) = (app.cache(), token.session_key());
    // Who has waited for the lock has to find what the last holder left, on whatever instance.
    let policy = app.services().shared(app.upstream().session_lasts());
    let present = || async {
        let session = cache.get::<Session>(&key).await.ok().flatten()?;
        (session.expires_at > clock::now() + MARGIN).then_some(Ok(session))
    };
    let exchange = |_held| async {
        // The token may have been revoked since the request was let in, while it waited for the lock.
        check(&app, &token).await?;
        let session = app.upstream().exchange(&token).await;
        // Kept before the lock is given back: the next in line finds it.
        cache.set(&key, &session, policy).await?;
        // A revocation removes the session after it has changed the database. It may have done so
        // before there was one: then the database says so by now.
        if let Err(problem) = check(&app, &token).await {
            if let Err(error) = cache.invalidate(&key).await {
                tracing::warn!(error = &error as &dyn Error, "a session is to be removed later");
            }
            return Err(problem);
        }
        Ok(session)
    };
    app.locks().refresh_once(&key, present, exchange).await?
}

/// Whether the token is still good, by the database itself.
async fn check(app: &App, token: &TokenHash) -> Result<(), Problem> {
    let token = app.database().token(token.clone()).await?;
    match token.is_some_and(|token| token.is_good(clock::now())) {
        true => Ok(()),
        false => Err(Problem::bad_token()),
    }
}
