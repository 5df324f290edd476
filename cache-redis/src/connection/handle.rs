//! One connection to one server, or one of redis-rs's to a whole cluster, with one way to ask.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{RoutingInfo, SingleNodeRoutingInfo};
use redis::{Cmd, ErrorKind, Pipeline, RedisError, ServerErrorKind, Value};

use super::asking::{Asking, host_and_port};
use super::call::Request;
use super::cluster::everyone;
use crate::error::refusal;

/// How often a call follows a key that moves between nodes.
const REDIRECTS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(5);

#[derive(Clone)]
pub(crate) enum Handle {
    Node(MultiplexedConnection),
    Cluster(ClusterConnection, Arc<Asking>),
}

impl Handle {
    /// Sends `request` and gives its reply; a pipeline's is an array of replies. An error reply to
    /// a command is an `Ok` here. `repeatable`: it may be sent again although it may have run in part.
    pub(crate) async fn send(
        &mut self,
        request: Request<'_>,
        repeatable: bool,
    ) -> Result<Value, RedisError> {
        match self {
            Self::Node(connection) => match request {
                Request::Command(cmd) | Request::At(cmd, ..) | Request::Everyone(cmd) => {
                    connection.send_packed_command(cmd).await
                }
                Request::Pipeline(pipeline) => connection
                    .send_packed_commands(pipeline, 0, pipeline.len())
                    .await
                    .map(Value::Array),
            },
            // Apart: it is larger than the others, and would make every call as large.
            Self::Cluster(connection, asking) => {
                Box::pin(follow((connection, asking), request, repeatable)).await
            }
        }
    }

    pub(crate) fn is_cluster(&self) -> bool {
        matches!(self, Self::Cluster(..))
    }
}

/// Sends `request` again while the cluster says that its key is elsewhere. It did not run then, so
/// this is no repetition, but for a pipeline, which may have run in part: it has to be `repeatable`.
/// The client underneath repeats nothing. It renews its map of the cluster when it sees such an
/// answer, before it sends what comes next.
async fn follow(
    (connection, asking): (&mut ClusterConnection, &Asking),
    mut request: Request<'_>,
    repeatable: bool,
) -> Result<Value, RedisError> {
    let mut redirects = 0;
    let mut named = None;
    loop {
        let answer = match named.take() {
            Some(node) => at(connection, request, node).await,
            None => once(connection, request).await,
        };
        let error = match answer {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        let in_part = matches!(request, Request::Pipeline(_)) && !repeatable;
        if in_part || !moved(&error) || redirects == REDIRECTS {
            return Err(error);
        }
        if let Some(node) = next_node(&error) {
            let answer = match request {
                Request::Command(cmd) | Request::At(cmd, ..) | Request::Everyone(cmd) => {
                    asking.send(&node, &[cmd]).await.map(|replies| replies.map(first))
                }
                Request::Pipeline(pipeline) => one_by_one(connection, asking, pipeline).await,
            };
            match answer {
                Some(Ok(reply)) if !is_elsewhere(&reply) => return Ok(reply),
                Some(Err(error)) => return Err(error),
                _ => {}
            }
        }
        // That node does not have the key any more: to whoever has.
        if let Request::At(cmd, ..) = request {
            request = Request::Command(cmd);
        }
        redirects += 1;
        if redirects > 1 {
            // The map may have been renewed from a node that does not know yet.
            named = named_node(&error);
            tokio::time::sleep(PAUSE * redirects).await;
        }
    }
}

/// Sends `request` to this node.
async fn at(
    connection: &mut ClusterConnection,
    request: Request<'_>,
    (host, port): (String, u16),
) -> Result<Value, RedisError> {
    let node = SingleNodeRoutingInfo::ByAddress { host, port };
    match request {
        Request::Command(cmd) | Request::At(cmd, ..) | Request::Everyone(cmd) => {
            connection.route_command(cmd.clone(), RoutingInfo::SingleNode(node)).await
        }
        Request::Pipeline(pipeline) => {
            let replies = connection.route_pipeline(pipeline.clone(), 0, pipeline.len(), node);
            replies.await.map(Value::Array)
        }
    }
}

/// The replies to a pipeline of which some keys are here and others may be where the slot goes.
/// `None` if that changes meanwhile.
async fn one_by_one(
    connection: &ClusterConnection,
    asking: &Asking,
    pipeline: &Pipeline,
) -> Option<Result<Value, RedisError>> {
    let mut calls = Vec::with_capacity(pipeline.len());
    for cmd in pipeline.cmd_iter() {
        calls.push(one(connection.clone(), cmd));
    }
    let (mut replies, mut there, mut node) = (Vec::new(), Vec::new(), None);
    for (cmd, answer) in pipeline.cmd_iter().zip(join_all(calls).await) {
        match answer {
            Ok(reply) => replies.push(reply),
            Err(error) if moved(&error) => {
                node = Some(next_node(&error)?);
                there.push((replies.len(), cmd));
                replies.push(Value::Nil);
            }
            Err(error) => return Some(Err(error)),
        }
    }
    if let Some(node) = node {
        let cmds: Vec<_> = there.iter().map(|(_, cmd)| *cmd).collect();
        match asking.send(&node, &cmds).await? {
            Err(error) => return Some(Err(error)),
            Ok(answers) if answers.iter().any(is_elsewhere) => return None,
            Ok(answers) => {
                for ((at, _), answer) in there.into_iter().zip(answers) {
                    replies[at] = answer;
                }
            }
        }
    }
    Some(Ok(Value::Array(replies)))
}

async fn one(mut connection: ClusterConnection, cmd: &Cmd) -> Result<Value, RedisError> {
    connection.req_packed_command(cmd).await
}

fn first(replies: Vec<Value>) -> Value {
    replies.into_iter().next().unwrap_or(Value::Nil)
}

/// The node that is to have the key, if it is on its way.
fn next_node(error: &RedisError) -> Option<String> {
    let asks = error.kind() == ErrorKind::Server(ServerErrorKind::Ask);
    error.redirect_node().filter(|_| asks).map(|(node, _)| node.to_owned())
}

/// The node that has the key, by what another one says.
fn named_node(error: &RedisError) -> Option<(String, u16)> {
    let moved = error.kind() == ErrorKind::Server(ServerErrorKind::Moved);
    error.redirect_node().filter(|_| moved).and_then(|(node, _)| host_and_port(node))
}

fn is_elsewhere(reply: &Value) -> bool {
    refusal(reply).is_some_and(|error| moved(&error))
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
        Request::At(_, host, port) => at(connection, request, (host.to_owned(), port)).await,
        Request::Everyone(cmd) => connection.route_command(cmd.clone(), everyone()).await,
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Node(_) => "Node",
            Self::Cluster(..) => "Cluster",
        })
    }
}
