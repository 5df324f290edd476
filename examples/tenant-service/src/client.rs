//! A small HTTP client for one address: what the load generator and the tests ask with.

use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::HOST;
use hyper::http::request::Builder;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Nobody takes connections there.
    #[error("no connection")]
    Connect(#[source] std::io::Error),
    /// The connection ended before the answer was complete, or the answer was none.
    #[error("no answer")]
    Http(#[source] hyper::Error),
    /// There was none in time.
    #[error("no answer in time")]
    Timeout,
    /// The request cannot be made.
    #[error("the request cannot be made")]
    Request(#[source] hyper::http::Error),
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: hyper::HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON; `Null` if it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// Asks one address, over up to so many connections, which are kept.
#[derive(Debug)]
pub struct Client {
    addr: SocketAddr,
    host: String,
    timeout: Duration,
    permits: Semaphore,
    idle: Mutex<Vec<SendRequest<Full<Bytes>>>>,
}

impl Client {
    /// A client of `addr` with up to `connections`; an answer may take `timeout`.
    #[must_use]
    pub fn new(addr: SocketAddr, connections: usize, timeout: Duration) -> Self {
        let (permits, idle) = (Semaphore::new(connections), Mutex::default());
        Self { addr, host: addr.to_string(), timeout, permits, idle }
    }

    /// Sends a request to `path`; `more` adds headers. `Host` is the address unless `more` says
    /// otherwise.
    ///
    /// # Errors
    ///
    /// If no complete answer came in time.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the request may have been sent; its connection is closed.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        body: impl Into<Bytes>,
        more: impl Fn(Builder) -> Builder,
    ) -> Result<Answer, ClientError> {
        let body = body.into();
        let request = || {
            let builder = more(Request::builder().method(method.clone()).uri(path));
            let named = builder.headers_ref().is_some_and(|headers| headers.contains_key(HOST));
            let builder = if named { builder } else { builder.header(HOST, &self.host) };
            builder.body(Full::new(body.clone())).map_err(ClientError::Request)
        };
        let sending = async {
            // Never closed.
            let _permit = self.permits.acquire().await;
            loop {
                let (mut connection, kept) = self.connection().await?;
                match connection.send_request(request()?).await {
                    Ok(response) => {
                        let (head, body) = response.into_parts();
                        let body = body.collect().await.map_err(ClientError::Http)?.to_bytes();
                        self.idle.lock().push(connection);
                        return Ok(Answer { status: head.status, headers: head.headers, body });
                    }
                    // The other side had closed it, and nothing was sent.
                    Err(error) if kept && error.is_canceled() => {}
                    Err(error) => return Err(ClientError::Http(error)),
                }
            }
        };
        tokio::time::timeout(self.timeout, sending).await.map_err(|_| ClientError::Timeout)?
    }

    /// `GET path`.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Result<Answer, ClientError> {
        self.send(Method::GET, path, Bytes::new(), |builder| with(builder, headers)).await
    }

    /// A request with a JSON body.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub async fn json(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &serde_json::Value,
    ) -> Result<Answer, ClientError> {
        self.send(method, path, body.to_string(), |builder| with(builder, headers)).await
    }

    /// A connection, and whether it was kept from an earlier request.
    async fn connection(&self) -> Result<(SendRequest<Full<Bytes>>, bool), ClientError> {
        loop {
            let Some(mut connection) = self.idle.lock().pop() else { break };
            if connection.ready().await.is_ok() {
                return Ok((connection, true));
            }
        }
        let stream = TcpStream::connect(self.addr).await.map_err(ClientError::Connect)?;
        // Small requests, and each is waited for. Where it cannot be set, it is slower.
        let _ = stream.set_nodelay(true);
        let (sender, connection) =
            handshake(TokioIo::new(stream)).await.map_err(ClientError::Http)?;
        // It ends when the sender is dropped; what goes wrong is seen by the sender.
        tokio::spawn(async move { drop(connection.await) });
        Ok((sender, false))
    }
}

fn with(builder: Builder, headers: &[(&str, &str)]) -> Builder {
    headers.iter().fold(builder, |builder, (name, value)| builder.header(*name, *value))
}
