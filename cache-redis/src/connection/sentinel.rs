//! Asking sentinels who the primary is.

use std::time::Duration;

use cache_core::CacheError;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use redis::cmd;
use tokio::time::timeout;

use super::dial::Dialer;
use super::gather::Load;
use crate::config::{Credentials, Endpoint};
use crate::error::{classify, unavailable};

/// The search for the primary. Sentinels may disagree during a failover, and one may be left over:
/// whether one is right shows when what it names is reached. So those that they name are tried in turn,
/// each once, soonest answer first, until one will do.
pub(crate) struct Search<F> {
    answers: FuturesUnordered<F>,
    named: Vec<Endpoint>,
    /// A node that hangs must leave time for the next one.
    share: Duration,
    /// That of the last node that was tried, or the last sentinel's, if none names one.
    pub(crate) fault: CacheError,
}

/// Asks all sentinels, for a search that may take so long.
pub(crate) fn search<'a>(
    dialer: &'a Dialer,
    sentinels: &'a [Endpoint],
    credentials: &'a Credentials,
    service: &'a str,
    patience: Duration,
) -> Search<impl Future<Output = Result<Endpoint, CacheError>> + 'a> {
    let ask = move |sentinel| primary(dialer, sentinel, credentials, service);
    Search {
        answers: sentinels.iter().map(ask).collect(),
        named: Vec::new(),
        share: if sentinels.len() > 1 { patience / 2 } else { patience },
        fault: unavailable("sentinels", "none is configured"),
    }
}

impl<F: Future<Output = Result<Endpoint, CacheError>>> Search<F> {
    /// What the next sentinel names that no other has. One that hangs holds up nothing that another
    /// knows.
    pub(crate) async fn next(&mut self) -> Option<Endpoint> {
        while let Some(answer) = self.answers.next().await {
            match answer {
                Ok(endpoint) if self.named.contains(&endpoint) => {}
                Ok(endpoint) => {
                    self.named.push(endpoint.clone());
                    return Some(endpoint);
                }
                Err(error) if self.named.is_empty() => self.fault = error,
                Err(_) => {}
            }
        }
        None
    }

    /// Waits for the attempt to reach what was named.
    pub(crate) async fn attempt<T>(
        &mut self,
        endpoint: &Endpoint,
        attempt: impl Future<Output = Result<T, CacheError>>,
    ) -> Option<T> {
        match timeout(self.share, attempt).await {
            Ok(Ok(reached)) => return Some(reached),
            Ok(Err(error)) => self.fault = error,
            Err(_) => self.fault = unavailable(&endpoint.to_string(), "it does not answer"),
        }
        None
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
