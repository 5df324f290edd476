//! One connection to one server, or one of redis-rs's to a whole cluster, with one way to ask.

use std::fmt;
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{RoutingInfo, SingleNodeRoutingInfo};
use redis::{ErrorKind, RedisError, ServerErrorKind, Value};

use super::call::Request;

/// How often a call follows a key that moves between nodes.
const REDIRECTS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(5);

#[derive(Clone)]
pub(crate) enum Handle {
    Node(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Handle {
    /// Sends `request` and gives its reply; a pipeline's is an array of replies. An error reply to
    /// a command is an `Ok` here.
    pub(crate) async fn send(&mut self, request: Request<'_>) -> Result<Value, RedisError> {
        match self {
            Self::Node(connection) => match request {
                Request::Command(cmd) | Request::At(cmd, ..) => {
                    connection.send_packed_command(cmd).await
                }
                Request::Pipeline(pipeline) => connection
                    .send_packed_commands(pipeline, 0, pipeline.len())
                    .await
                    .map(Value::Array),
            },
            // Apart: it is larger than the others, and would make every call as large.
            Self::Cluster(connection) => Box::pin(follow(connection, request)).await,
        }
    }

    pub(crate) fn is_cluster(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }
}

/// Sends `request` again while the cluster says that its key is elsewhere. It did not run then, so
/// this is no repetition; the client underneath repeats nothing. It renews its map of the cluster
/// when it sees such an answer, before it sends what comes next.
async fn follow(
    connection: &mut ClusterConnection,
    request: Request<'_>,
) -> Result<Value, RedisError> {
    let mut redirects = 0;
    loop {
        let error = match once(connection, request).await {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        // A pipeline may have run in part.
        let elsewhere = !matches!(request, Request::Pipeline(_)) && moved(&error);
        if !elsewhere || redirects == REDIRECTS {
            return Err(error);
        }
        redirects += 1;
        if redirects > 1 {
            tokio::time::sleep(PAUSE * redirects).await;
        }
    }
}

fn moved(error: &RedisError) -> bool {
    use ServerErrorKind::{Ask, Moved, ReadOnly, TryAgain};
    matches!(error.kind(), ErrorKind::Server(Ask | Moved | ReadOnly | TryAgain))
}

async fn once(
    connection: &mut ClusterConnection,
    request: Request<'_>,
) -> Result<Value, RedisError> {
    match request {
        Request::Command(cmd) => connection.req_packed_command(cmd).await,
        Request::Pipeline(pipeline) => {
            connection.req_packed_commands(pipeline, 0, pipeline.len()).await.map(Value::Array)
        }
        Request::At(cmd, host, port) => {
            let node = SingleNodeRoutingInfo::ByAddress { host: host.to_owned(), port };
            connection.route_command(cmd.clone(), RoutingInfo::SingleNode(node)).await
        }
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Node(_) => "Node",
            Self::Cluster(_) => "Cluster",
        })
    }
}
