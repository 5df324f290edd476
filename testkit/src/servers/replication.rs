//! How far a replica is.

use std::collections::BTreeMap;

use super::command::fields;
use super::resp::Reply;
use super::server::RedisServer;

/// Whether `server` is there and a primary.
pub(super) fn is_primary(server: &RedisServer) -> bool {
    state(server).is_some_and(|state| state["role"] == "master")
}

/// Whether `replica` follows `primary` and has everything that was written there before this was
/// asked. (That the link is up is not enough: for a moment after the first transfer the primary
/// keeps to itself what is written.)
pub(super) fn is_in_step(primary: &RedisServer, replica: &RedisServer) -> bool {
    // In this order: what the primary writes after it was asked does not matter.
    let Some(written) = state(primary).and_then(|state| number(&state, "master_repl_offset"))
    else {
        return false;
    };
    state(replica).is_some_and(|state| {
        number(&state, "master_port") == Some(u64::from(primary.port()))
            && state.get("master_link_status").is_some_and(|link| link == "up")
            && number(&state, "slave_repl_offset").is_some_and(|offset| offset >= written)
    })
}

/// The port of the primary that `server` follows, if it is a replica.
pub(super) fn primary_port(server: &RedisServer) -> Option<u64> {
    state(server).and_then(|state| number(&state, "master_port"))
}

/// What a server says, unless it is just going away or coming.
fn state(server: &RedisServer) -> Option<BTreeMap<String, String>> {
    match server.try_command(&["INFO", "replication"]) {
        Ok(Reply::Bytes(info)) => Some(fields(&String::from_utf8_lossy(&info))),
        _ => None,
    }
}

fn number(state: &BTreeMap<String, String>, field: &str) -> Option<u64> {
    state.get(field)?.parse().ok()
}
