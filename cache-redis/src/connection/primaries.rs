//! Talking to one primary at a time.

use cache_core::CacheError;
use futures_util::future::try_join_all;
use redis::{Cmd, FromRedisValue};

use super::call::{Call, Generation, Lane, Request, Retry};
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

    /// What this node of a cluster says of its slots and of those of others.
    async fn slots(&self) -> Result<Slots, CacheError> {
        let mut question = redis::cmd("CLUSTER");
        question.arg("NODES");
        let call = Call::new(Lane::Scan).retry(Retry::Once);
        let nodes: String = self.query(call, &question).await?;
        Ok(Slots::parse(&nodes))
    }

    fn request<'a>(&'a self, cmd: &'a Cmd) -> Request<'a> {
        match &self.node {
            Some((host, port)) => Request::At(cmd, host, *port),
            None => Request::Command(cmd),
        }
    }
}

/// The primaries, and what tells whether keys have gone from one to another meanwhile.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) primaries: Vec<Primary>,
    /// By node; none where there is no cluster.
    slots: Vec<Slots>,
}

impl Layout {
    /// # Errors
    ///
    /// As [`Connections::primaries`], and if one of them does not answer.
    pub(crate) async fn of(connections: &Connections) -> Result<Self, CacheError> {
        let primaries = primaries(connections).await?;
        let asked = primaries.iter().filter(|primary| primary.node.is_some()).map(Primary::slots);
        let mut slots = try_join_all(asked.collect::<Vec<_>>()).await?;
        slots.sort_unstable_by(|a, b| a.node.cmp(&b.node));
        Ok(Self { primaries, slots })
    }

    /// Whether no slot has got to another node since `before`, nor begun or ceased to move.
    pub(crate) fn is_as(&self, before: &Self) -> bool {
        let own = |layout: &Self| {
            layout.slots.iter().map(|s| (s.node.clone(), s.own.clone())).collect::<Vec<_>>()
        };
        own(self) == own(before)
    }

    /// Whether slots are on their way from one node to another.
    pub(crate) fn moves(&self) -> bool {
        self.slots.iter().any(|slots| !slots.targets.is_empty())
    }

    /// Whether they are on their way to a node that has none yet, and so is no primary to the others.
    pub(crate) fn moves_to_new(&self) -> bool {
        self.slots.iter().flat_map(|slots| &slots.targets).any(|node| !self.has(node))
    }

    /// Whether every node has slots that one of them says has some.
    pub(crate) fn is_whole(&self) -> bool {
        self.slots.iter().flat_map(|slots| &slots.named).all(|node| self.has(node))
    }

    fn has(&self, node: &str) -> bool {
        self.slots.binary_search_by(|slots| slots.node.as_str().cmp(node)).is_ok()
    }
}

/// What one node says of slots. Nodes are named by their ids.
#[derive(Debug, Default, PartialEq, Eq)]
struct Slots {
    node: String,
    /// Its own, and those that come and go, as it writes them.
    own: String,
    /// Where some of its own are going.
    targets: Vec<String>,
    /// Which nodes have some.
    named: Vec<String>,
}

impl Slots {
    /// Of the answer to `CLUSTER NODES`: a line per node, `id address flags primary ping pong epoch
    /// link slots…`. A slot that moves stands in brackets, in the line of the node that was asked.
    fn parse(nodes: &str) -> Self {
        let mut slots = Self::default();
        for line in nodes.lines() {
            let fields: Vec<_> = line.split_ascii_whitespace().collect();
            let [id, _, flags, _, _, _, _, _, has @ ..] = fields.as_slice() else { continue };
            if has.iter().any(|slot| !slot.starts_with('[')) {
                slots.named.push((*id).to_owned());
            }
            if flags.split(',').any(|flag| flag == "myself") {
                slots.node = (*id).to_owned();
                slots.own = has.join(" ");
                let moves = has.iter().filter_map(|slot| slot.strip_suffix(']')?.split_once("->-"));
                slots.targets = moves.map(|(_, id)| id.to_owned()).collect();
            }
        }
        slots
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_that_move_stand_in_the_own_line() {
        let nodes = "aa 10.0.0.1:1@2,host myself,master - 0 0 1 connected 0-5 7 [93->-bb] [4-<-cc]\n\
                     bb 10.0.0.2:1@2 master - 0 0 2 connected\n\
                     cc 10.0.0.3:1@2 master - 0 0 3 connected 8-9\n\
                     dd 10.0.0.4:1@2 slave cc 0 0 3 connected\n";
        let of = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let slots = Slots::parse(nodes);
        assert_eq!(slots.node, "aa");
        assert_eq!(slots.own, "0-5 7 [93->-bb] [4-<-cc]");
        assert_eq!((slots.targets, slots.named), (of("bb"), of("aa cc")));
        assert_eq!(Slots::parse("what is this"), Slots::default());
    }
}
