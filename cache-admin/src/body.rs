//! Bodies of requests: JSON of a bounded size, or a JSON error.

use axum::body::{Bytes, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use http_body_util::LengthLimitError;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::error::ApiError;

/// A field that can only be `true`.
#[derive(Debug, Deserialize)]
#[serde(try_from = "bool")]
pub(crate) struct True;

impl TryFrom<bool> for True {
    type Error = &'static str;

    fn try_from(value: bool) -> Result<Self, Self::Error> {
        if value { Ok(Self) } else { Err("this can only be true") }
    }
}

/// Reads a body of JSON, which `shape` describes to whoever sends another.
pub(crate) async fn read<T: DeserializeOwned>(
    request: Request,
    limit: usize,
    shape: &str,
) -> Result<T, ApiError> {
    if !is_json(request.headers()) {
        return Err(unsupported());
    }
    parse(&bytes(request, limit).await?, shape)
}

/// The same where the body may be left out, which stands for `{}`.
pub(crate) async fn read_optional<T>(request: Request, limit: usize) -> Result<T, ApiError>
where
    T: DeserializeOwned + Default,
{
    let declared = is_json(request.headers());
    let bytes = bytes(request, limit).await?;
    match bytes.is_empty() {
        true => Ok(T::default()),
        false if declared => parse(&bytes, "empty or {}"),
        false => Err(unsupported()),
    }
}

fn unsupported() -> ApiError {
    let message = "the body is to be JSON, under 'Content-Type: application/json'";
    ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message)
}

async fn bytes(request: Request, limit: usize) -> Result<Bytes, ApiError> {
    let too_large = || {
        let message = format!("the body is larger than {limit} bytes");
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
    };
    let announced = request.headers().get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit as u64) {
        return Err(too_large());
    }
    to_bytes(request.into_body(), limit).await.map_err(|error| {
        let source = std::error::Error::source(&error);
        match source.is_some_and(<dyn std::error::Error>::is::<LengthLimitError>) {
            true => too_large(),
            false => ApiError::bad_request("bad_request", "the body could not be read"),
        }
    })
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.and_then(|kind| kind.split(';').next())
        .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

fn parse<T: DeserializeOwned>(bytes: &[u8], shape: &str) -> Result<T, ApiError> {
    serde_json::from_slice(bytes).map_err(|error| {
        match serde_json::from_slice::<IgnoredAny>(bytes) {
            Ok(_) => {
                let message = format!("the body is to be {shape}; this one is not: {error}");
                ApiError::bad_request("invalid_request", message)
            }
            Err(error) => {
                ApiError::bad_request("malformed_json", format!("the body is no JSON: {error}"))
            }
        }
    })
}
