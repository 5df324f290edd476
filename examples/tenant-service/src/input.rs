//! Bodies and paths, read strictly and refused with a sentence.

use std::error::Error;
use std::fmt::Display;
use std::str::FromStr;

use axum::body::to_bytes;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use http_body_util::LengthLimitError;
use serde::de::DeserializeOwned;

use crate::app::App;
use crate::problem::Problem;

/// A JSON body, within the bound of the settings. Its `Content-Type` does not matter.
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<App> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let most = app.live().settings().body_bytes;
        let too_large = || {
            let message = format!("The body is too large: {most} bytes are taken at most.");
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message)
        };
        let announced = request.headers().get(header::CONTENT_LENGTH);
        let announced = announced.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        if announced.is_some_and(|length| length > most) {
            return Err(too_large());
        }
        let body = to_bytes(request.into_body(), most).await.map_err(|error| {
            match error.source().and_then(<dyn Error>::downcast_ref::<LengthLimitError>) {
                Some(_) => too_large(),
                None => {
                    Problem::bad_request("broken_body", "The body ended before it was complete.")
                }
            }
        })?;
        serde_json::from_slice(&body).map(Self).map_err(|error| {
            Problem::bad_request("bad_json", format!("The body cannot be read: {error}."))
        })
    }
}

/// The one part of the path that is a parameter.
pub(crate) struct InPath<T>(pub(crate) T);

impl<T: FromStr<Err: Display>> FromRequestParts<App> for InPath<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let bad = |why: &dyn Display| {
            Problem::bad_request("bad_path", format!("The path cannot be read: {why}."))
        };
        let path: Result<Path<String>, PathRejection> = Path::from_request_parts(parts, app).await;
        let Path(text) = path.map_err(|_| bad(&"it is not valid UTF-8"))?;
        text.parse().map(Self).map_err(|error| bad(&error))
    }
}
