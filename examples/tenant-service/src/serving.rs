//! Takes connections and answers what comes over them, until it is told to stop.
//!
//! In place of `axum::serve`, which lets a client take for ever to send the head of a request.

use std::error::Error;
use std::io::ErrorKind;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1::Builder;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long nothing is accepted when the process has no room for a connection.
const NO_ROOM: Duration = Duration::from_secs(1);

/// Answers by `routes` until `stop`; then takes no more connections or requests, and ends when those are
/// answered that have come. A client has `header_timeout`, asked for each connection, for the head of a
/// request, and a connection over which no request comes is kept for as long.
///
/// # Cancel safety
///
/// If the future is dropped, what has come is still answered.
pub(crate) async fn serve(
    listener: TcpListener,
    routes: Router,
    header_timeout: impl Fn() -> Duration,
    stop: CancellationToken,
) {
    let connections = TaskTracker::new();
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((stream, _)) => {
                let answering = answer(stream, routes.clone(), header_timeout(), stop.clone());
                connections.spawn(answering);
            }
            // The client went away before it was taken.
            Err(error) if is_of_the_client(error.kind()) => {}
            Err(error) => {
                tracing::error!(error = &error as &dyn Error, "no connections can be taken");
                stop.run_until_cancelled(tokio::time::sleep(NO_ROOM)).await;
            }
        }
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

async fn answer(
    stream: TcpStream,
    routes: Router,
    header_timeout: Duration,
    stop: CancellationToken,
) {
    let connection = Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    let mut connection = pin!(connection);
    let ended = match stop.run_until_cancelled(connection.as_mut()).await {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error = &error as &dyn Error, "a connection broke off");
    }
}

fn is_of_the_client(kind: ErrorKind) -> bool {
    use ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(kind, ConnectionAborted | ConnectionRefused | ConnectionReset)
}
