//! Talking to one primary at a time.

use cache_core::CacheError;
use redis::{Cmd, FromRedisValue};

use super::call::{Call, Generation, Lane, Request};
use super::{Connections, cluster};

/// One primary: a node of a cluster, or the one server there is.
#[derive(Clone, Debug)]
pub struct Primary {
    connections: Connections,
    node: Option<(String, u16)>,
}

impl Primary {
    /// Sends a command to this node, whatever its keys.
    ///
    /// # Errors
    ///
    /// As [`Connections::query`]; [`Unavailable`](cache_core::ErrorKind::Unavailable) if the node
    /// has left the cluster.
    pub async fn query<T>(&self, call: Call, cmd: &Cmd) -> Result<T, CacheError>
    where
        T: FromRedisValue + Send,
    {
        let reply = self.connections.run(call, self.request(cmd)).await?;
        self.connections.convert(reply)
    }

    /// As [`query`](Self::query), and says over which connection.
    pub(crate) async fn query_over<T>(
        &self,
        call: Call,
        cmd: &Cmd,
    ) -> Result<(T, Generation), CacheError>
    where
        T: FromRedisValue + Send,
    {
        let (reply, by) = self.connections.run_over(call, self.request(cmd)).await?;
        Ok((self.connections.convert(reply)?, by))
    }

    fn request<'a>(&'a self, cmd: &'a Cmd) -> Request<'a> {
        match &self.node {
            Some((host, port)) => Request::At(cmd, host, *port),
            None => Request::Command(cmd),
        }
    }
}

pub(crate) async fn primaries(connections: &Connections) -> Result<Vec<Primary>, CacheError> {
    if !connections.is_cluster() {
        return Ok(vec![Primary { connections: connections.clone(), node: None }]);
    }
    let mut question = redis::cmd("CLUSTER");
    question.arg("SLOTS");
    let reply = connections.run(Call::new(Lane::Scan), Request::Command(&question)).await?;
    let mut shards = cluster::parse(&reply, connections.address(), None)?;
    if shards.iter().any(|shard| shard.host.is_empty()) {
        let reply = connections.run(Call::new(Lane::Scan), Request::Everyone(&question)).await?;
        shards = cluster::parse_one_of(&reply, connections.address())?;
    }
    let primary = |shard: cluster::Shard| Primary {
        connections: connections.clone(),
        node: Some((shard.host, shard.port)),
    };
    Ok(shards.into_iter().map(primary).collect())
}
