//! Asking for a key of a cluster that is moving where it goes to.
//!
//! While a hash slot moves, its old node says of keys that it does not have which node may have them
//! (`ASK`). That one answers only to who has said `ASKING`. The client underneath follows that only
//! where it may repeat everything, and need not know the node at all. So this has a connection of its
//! own for each time: few keys are in that state, and for a short while.

use redis::{Cmd, Pipeline, RedisError, Value};

use super::dial::Dialer;
use super::gather::Load;
use crate::config::{Credentials, Endpoint};

/// How nodes are reached.
#[derive(Clone)]
pub(crate) struct Asking {
    pub(crate) dialer: Dialer,
    pub(crate) credentials: Credentials,
}

impl Asking {
    /// Sends the commands to the node at `host:port` and gives their replies. `None` if it cannot be
    /// reached, and nothing was sent.
    pub(crate) async fn send(
        &self,
        node: &str,
        cmds: &[&Cmd],
    ) -> Option<Result<Vec<Value>, RedisError>> {
        let (host, port) = host_and_port(node)?;
        let endpoint = Endpoint::Tcp { host, port };
        let opened = self.dialer.open(&endpoint, &self.credentials, 0, &Load::default()).await;
        let mut opened = opened
            .inspect_err(|error| tracing::debug!(%error, "a key's next node is out of reach"))
            .ok()?;
        let mut pipeline = Pipeline::with_capacity(2 * cmds.len());
        for cmd in cmds {
            pipeline.cmd("ASKING");
            pipeline.add_command((*cmd).clone());
        }
        let replies = opened.connection.send_packed_commands(&pipeline, 0, pipeline.len()).await;
        Some(replies.map(|replies| replies.into_iter().skip(1).step_by(2).collect()))
    }
}

/// `host:port`; an IPv6 address in brackets or without.
pub(super) fn host_and_port(node: &str) -> Option<(String, u16)> {
    let (host, port) = node.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    (!host.is_empty()).then_some((host.to_owned(), port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_a_host_and_a_port() {
        let is = |host: &str, port| Some((host.to_owned(), port));
        assert_eq!(host_and_port("10.0.0.1:6379"), is("10.0.0.1", 6379));
        assert_eq!(host_and_port("2001:db8::1:6379"), is("2001:db8::1", 6379));
        assert_eq!(host_and_port("[::1]:1"), is("::1", 1));
        let bad = ["", ":6379", "a", "a:b", "a:"];
        assert!(bad.into_iter().all(|node| host_and_port(node).is_none()));
    }
}
