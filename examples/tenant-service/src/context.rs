//! What a request is about: its organisation, put into it before a handler sees it, and who sends it.
//!
//! `X-Tenant-ID` and `X-Org-Slug` name the organisation; if both do, they have to name the same one.
//! Without either it is the one whose host the request is for. A header beats the host, which behind a
//! proxy is often a name that means nothing.

use std::ops::Deref;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::Response;

use crate::app::App;
use crate::clock;
use crate::identity::{Host, Identity, Slug, parse_id, user_key};
use crate::live::Ttl;
use crate::model::{Org, Token, User};
use crate::problem::Problem;
use crate::secret::{TokenHash, bearer};

const TENANT_ID: HeaderName = HeaderName::from_static("x-tenant-id");
const ORG_SLUG: HeaderName = HeaderName::from_static("x-org-slug");
/// No value that could be right is longer.
const LONGEST_VALUE: usize = 300;

/// The organisation that a request belongs to: active, and resolved once. An argument of handlers.
#[derive(Clone, Debug)]
pub struct Tenant(pub Arc<Org>);

impl Deref for Tenant {
    type Target = Org;

    fn deref(&self) -> &Org {
        &self.0
    }
}

impl<S: Sync> FromRequestParts<S> for Tenant {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| {
            // A route outside of the middleware: a fault of ours.
            let message = "This address does not know its organisation.";
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "no_context", message)
        })
    }
}

/// Finds the organisation of a request and puts it into the request, as a [`Tenant`].
pub(crate) async fn resolve(
    State(app): State<App>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let tenant = tenant(&app, request.headers(), request.uri()).await?;
    request.extensions_mut().insert(tenant);
    Ok(next.run(request).await)
}

async fn tenant(app: &App, headers: &HeaderMap, uri: &Uri) -> Result<Tenant, Problem> {
    let id = one(headers, &TENANT_ID)?.map(|text| parse(&TENANT_ID, text, parse_id)).transpose()?;
    let slug = one(headers, &ORG_SLUG)?;
    let slug = slug.map(|text| parse(&ORG_SLUG, text, str::parse::<Slug>)).transpose()?;
    let identity = match (id, &slug) {
        (Some(id), _) => Identity::Id(id),
        (None, Some(slug)) => Identity::Slug(slug.clone()),
        (None, None) => Identity::Host(host(headers, uri)?),
    };
    let org = find(app, &identity).await?.ok_or_else(|| unknown(&identity))?;
    if slug.is_some_and(|slug| slug != org.slug) {
        let message = "X-Tenant-ID and X-Org-Slug name two organisations. Send one of them.";
        return Err(Problem::bad_request("conflicting_tenant", message));
    }
    if !org.active {
        let message = format!("The organisation {} is not active.", org.slug);
        return Err(Problem::new(StatusCode::FORBIDDEN, "inactive_organisation", message));
    }
    Ok(Tenant(org))
}

/// The organisation, from wherever the settings say.
async fn find(app: &App, identity: &Identity) -> Result<Option<Arc<Org>>, Problem> {
    let (database, wanted) = (app.database().clone(), identity.clone());
    let load = move || {
        let (database, wanted) = (database.clone(), wanted.clone());
        async move { database.org(wanted).await }
    };
    app.lookups().find(&identity.key(), Ttl::Organisation, load).await
}

fn unknown(identity: &Identity) -> Problem {
    let hint = match identity {
        Identity::Host(_) => " Send X-Org-Slug or X-Tenant-ID, or use a host of the organisation.",
        _ => "",
    };
    let message = format!("No organisation is known by {identity}.{hint}");
    Problem::new(StatusCode::NOT_FOUND, "unknown_organisation", message)
}

/// The host that the request is for: that of its URL if it has one, as HTTP says, else `Host`.
fn host(headers: &HeaderMap, uri: &Uri) -> Result<Host, Problem> {
    let header = one(headers, &header::HOST)?;
    let Some(host) = uri.host().or(header).filter(|host| !host.is_empty()) else {
        let message = "The request names no organisation. Send X-Org-Slug, X-Tenant-ID or Host.";
        return Err(Problem::bad_request("no_organisation", message));
    };
    parse(&header::HOST, host, Host::from_header)
}

/// The value of a header that may be there once, as text.
pub(crate) fn one<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        let message = format!("The header {name} is there more than once. Send it once.");
        return Err(Problem::bad_request("repeated_header", message));
    }
    let bad = |why| Problem::bad_request("bad_header", format!("The header {name} {why}."));
    if value.len() > LONGEST_VALUE && name != header::AUTHORIZATION {
        return Err(bad("is too long"));
    }
    value.to_str().map(Some).map_err(|_| bad("holds something else than visible ASCII"))
}

fn parse<T, E: std::fmt::Display>(
    name: &HeaderName,
    text: &str,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, Problem> {
    parse(text).map_err(|error| {
        Problem::bad_request("bad_header", format!("The header {name} cannot be read: {error}."))
    })
}

/// Who sends a request: a good token of a user of the request's organisation. An argument of
/// handlers.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The token.
    pub token: Arc<Token>,
    /// What stands for the token in keys.
    pub hash: TokenHash,
    /// The user it stands for.
    pub user: Arc<User>,
}

impl FromRequestParts<App> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let tenant = Tenant::from_request_parts(parts, app).await?;
        let Some(header) = one(&parts.headers, &header::AUTHORIZATION)? else {
            let message = "Send a token: Authorization: Bearer <token>.";
            return Err(Problem::unauthorized("no_token", message));
        };
        let Some(hash) = bearer(header) else {
            let message = "The header authorization must be Bearer and a token.";
            return Err(Problem::unauthorized("bad_token", message));
        };
        let token = find_token(app, &hash).await?;
        let Some(token) = token.filter(|token| token.is_good(clock::now())) else {
            return Err(Problem::bad_token());
        };
        if token.org != tenant.id {
            let message = format!("The token is not one of the organisation {}.", tenant.slug);
            return Err(Problem::new(StatusCode::FORBIDDEN, "other_organisation", message));
        }
        let Some(user) = find_user(app, token.user).await? else {
            let message = "The token's user is gone.";
            return Err(Problem::unauthorized("bad_token", message));
        };
        Ok(Self { token, hash, user })
    }
}

async fn find_token(app: &App, hash: &TokenHash) -> Result<Option<Arc<Token>>, Problem> {
    let (database, wanted) = (app.database().clone(), hash.clone());
    let load = move || {
        let (database, wanted) = (database.clone(), wanted.clone());
        async move { database.token(wanted).await }
    };
    app.lookups().find(&hash.token_key(), Ttl::Token, load).await
}

async fn find_user(app: &App, id: uuid::Uuid) -> Result<Option<Arc<User>>, Problem> {
    let database = app.database().clone();
    let load = move || {
        let database = database.clone();
        async move { database.user(id).await }
    };
    app.lookups().find(&user_key(id), Ttl::User, load).await
}
