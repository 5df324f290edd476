//! The session that a token is exchanged for at the identity provider: once, however many ask for it
//! and wherever.

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use cache_services::{CacheServiceExt, ConcurrencyServiceExt};

use crate::app::App;
use crate::clock;
use crate::context::Caller;
use crate::problem::Problem;
use crate::upstream::Session;

/// A session that ends sooner is exchanged for a new one.
const MARGIN: u64 = 5;

/// `POST /session/refresh`: a session that lasts, the present one or a new one.
pub(crate) async fn refresh(
    State(app): State<App>,
    caller: Caller,
) -> Result<impl IntoResponse, Problem> {
    let (cache, key) = (app.cache(), caller.hash.session_key());
    // Who has waited for the lock has to find what the last holder left, on whatever instance.
    let policy = app.services().shared(app.upstream().session_lasts());
    let present = || async {
        let session = cache.get::<Session>(&key).await.ok().flatten()?;
        (session.expires_at > clock::now() + MARGIN).then_some(Ok(session))
    };
    let exchange = |_held| async {
        let session = app.upstream().exchange(&caller.hash).await;
        // Kept before the lock is given back: the next in line finds it.
        cache.set(&key, &session, policy).await?;
        Ok::<_, Problem>(session)
    };
    let session = app.locks().refresh_once(&key, present, exchange).await??;
    Ok(Json(session))
}
