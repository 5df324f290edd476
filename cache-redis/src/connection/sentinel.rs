//! Asking sentinels who the primary is.

use cache_core::CacheError;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use redis::cmd;

use super::dial::Dialer;
use super::gather::Load;
use crate::config::{Credentials, Endpoint};
use crate::error::{classify, unavailable};

/// The primaries that the sentinels name, soonest answer first, each once. Sentinels may disagree
/// during a failover; whether one is right shows when it is asked for its role.
///
/// # Errors
///
/// The last sentinel's, if none names one.
pub(crate) async fn primaries(
    dialer: &Dialer,
    sentinels: &[Endpoint],
    credentials: &Credentials,
    service: &str,
) -> Result<Vec<Endpoint>, CacheError> {
    let mut answers: FuturesUnordered<_> =
        sentinels.iter().map(|sentinel| primary(dialer, sentinel, credentials, service)).collect();
    let (mut found, mut fault) = (Vec::new(), None);
    // One that hangs must not hold up what another knows.
    while let Some(answer) = answers.next().await {
        match answer {
            Ok(endpoint) => {
                found.push(endpoint);
                break;
            }
            Err(error) => fault = Some(error),
        }
    }
    while let Some(Some(answer)) = futures_util::FutureExt::now_or_never(answers.next()) {
        found.extend(answer.ok().filter(|endpoint| !found.contains(endpoint)));
    }
    match (found.is_empty(), fault) {
        (false, _) => Ok(found),
        (true, Some(fault)) => Err(fault),
        (true, None) => Err(unavailable("sentinels", "none is configured")),
    }
}

async fn primary(
    dialer: &Dialer,
    sentinel: &Endpoint,
    credentials: &Credentials,
    service: &str,
) -> Result<Endpoint, CacheError> {
    let mut opened = dialer.open(sentinel, credentials, 0, &Load::default()).await?;
    let address = sentinel.to_string();
    let mut question = cmd("SENTINEL");
    question.arg("GET-MASTER-ADDR-BY-NAME").arg(service);
    let named: Result<Option<(String, u16)>, _> =
        question.query_async(&mut opened.connection).await;
    match named.map_err(|error| classify(&error, &address).0)? {
        Some((host, port)) => Ok(Endpoint::Tcp { host, port }),
        None => Err(unavailable(&address, &format!("it watches no primary named {service:?}"))),
    }
}
