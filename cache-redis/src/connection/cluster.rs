//! A cluster, through redis-rs's client for clusters.
//!
//! Rules:
//!
//! 1. That client repeats nothing by itself: it cannot tell what may run twice, and its repetitions
//!    outlive a budget. [`Handle`](super::handle::Handle) follows redirections.
//! 2. It mends connections that break but keeps one that is silent, and dials anew from the first
//!    addresses when asked for a node it does not know. So the heartbeat asks by hash slot, never
//!    by address.

use std::time::Duration;

use cache_core::{CacheError, ErrorKind};
use futures_util::future::join_all;
use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{
    MultipleNodeRoutingInfo, Route, RoutingInfo, SingleNodeRoutingInfo, SlotAddr,
};
use redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use redis::{ConnectionAddr, RedisError, TlsCertificates, TlsMode, Value, cmd};
use tokio::time::timeout;

use super::server_clock::ServerClock;
use super::tls::ensure_process_provider;
use crate::config::{Endpoint, RedisConfig};
use crate::error::{classify, unavailable};

/// The primary of one range of hash slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shard {
    pub(crate) first_slot: u16,
    pub(crate) host: String,
    pub(crate) port: u16,
}

pub(crate) fn client(
    config: &RedisConfig,
    nodes: &[Endpoint],
    user_timeout: Duration,
) -> Result<ClusterClient, CacheError> {
    let addresses = nodes.iter().filter_map(|node| match (node, config.tls) {
        (Endpoint::Unix(_), _) => None,
        (Endpoint::Tcp { host, port }, false) => Some(ConnectionAddr::Tcp(host.clone(), *port)),
        (Endpoint::Tcp { host, port }, true) => Some(ConnectionAddr::TcpTls {
            host: host.clone(),
            port: *port,
            insecure: false,
            tls_params: None,
        }),
    });
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(10))
        .with_interval(Duration::from_secs(2));
    let settings = TcpSettings::default().set_nodelay(true).set_keepalive(keepalive);
    #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
    let settings = settings.set_user_timeout(user_timeout);
    // A node that does not answer holds up the others while the client renews its map.
    let node_timeout = config.operation_timeout.max(Duration::from_millis(100));
    let mut builder = ClusterClientBuilder::new(addresses)
        .retries(0)
        .connection_timeout(node_timeout)
        // Longer than a call waits: who calls keeps the time.
        .response_timeout(config.operation_timeout.max(config.heartbeat_timeout) * 2)
        .overall_response_timeout(None)
        .tcp_settings(settings);
    if let Some(user) = &config.credentials.user {
        builder = builder.username(user);
    }
    if let Some(password) = &config.credentials.password {
        builder = builder.password(password.reveal());
    }
    if config.tls {
        ensure_process_provider();
        builder = builder.tls(TlsMode::Secure);
        if let Some(pem) = &config.ca_certificate {
            let root_cert = Some(pem.0.clone());
            builder = builder.certs(TlsCertificates { client_tls: None, root_cert });
        }
    }
    builder.build().map_err(|error| {
        CacheError::new(ErrorKind::Config, "the cluster client refuses its settings")
            .with_source(error)
    })
}

pub(crate) async fn open(
    client: &ClusterClient,
    address: &str,
) -> Result<ClusterConnection, CacheError> {
    client.get_async_connection().await.map_err(|error| {
        if error.detail().is_some_and(|detail| detail.contains("AuthenticationFailed")) {
            return CacheError::new(
                ErrorKind::Config,
                format!("{address}: it refuses the user name or password"),
            )
            .with_retryable(true);
        }
        classify(&error, address).0
    })
}

/// Asks every primary whether it is there, and the one of slot 0, whose clock is the cluster's,
/// for the time. Gives how many did not answer.
///
/// # Errors
///
/// When none answers.
pub(crate) async fn beat(
    connection: &ClusterConnection,
    clock: &ServerClock,
    patience: Duration,
    address: &str,
) -> Result<usize, CacheError> {
    let shards = timeout(patience, shards(connection.clone(), address))
        .await
        .map_err(|_| unavailable(address, "no node answers"))??;
    let ask = |shard: &Shard| {
        let mut connection = connection.clone();
        let route = route(shard.first_slot);
        let timed = shard.first_slot == 0;
        async move {
            let asked = clock.ask();
            let question = cmd(if timed { "TIME" } else { "PING" });
            let answer = timeout(patience, connection.route_command(question, route)).await;
            match answer {
                Ok(Ok(reply)) => {
                    if timed {
                        clock.answered(asked, &reply);
                    }
                    true
                }
                // A connection that broke is being mended underneath.
                Ok(Err(_)) => true,
                Err(_) => false,
            }
        }
    };
    let answers = join_all(shards.iter().map(ask)).await;
    let silent = answers.iter().filter(|answered| !**answered).count();
    if silent == answers.len() {
        return Err(unavailable(address, "no node answers"));
    }
    Ok(silent)
}

/// The primaries, by the view of any one node.
pub(crate) async fn shards(
    mut connection: ClusterConnection,
    address: &str,
) -> Result<Vec<Shard>, CacheError> {
    let mut question = cmd("CLUSTER");
    question.arg("SLOTS");
    let anyone = RoutingInfo::SingleNode(SingleNodeRoutingInfo::Random);
    let reply = connection
        .route_command(question, anyone)
        .await
        .and_then(|reply| match reply {
            Value::ServerError(error) => Err(RedisError::from(error)),
            reply => Ok(reply),
        })
        .map_err(|error| classify(&error, address).0)?;
    parse(&reply, address, None)
}

/// As [`shards`], for primaries of which not all know their host: asks every node, as the client
/// underneath tells who has answered only then. It knows them by the host that they were asked at.
pub(crate) fn everyone() -> RoutingInfo {
    RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None))
}

/// What the first node has answered to a question to [`everyone`].
///
/// # Errors
///
/// As [`parse`].
pub(crate) fn parse_one_of(reply: &Value, address: &str) -> Result<Vec<Shard>, CacheError> {
    let Value::Map(answers) = reply else {
        return Err(unavailable(address, "no node serves any hash slot"));
    };
    let found = answers.iter().find_map(|(node, answer)| {
        let Value::BulkString(node) = node else { return None };
        let node = String::from_utf8_lossy(node);
        let (host, _) = node.rsplit_once(':')?;
        parse(answer, address, Some(host)).ok()
    });
    found.ok_or_else(|| unavailable(address, "no node serves any hash slot"))
}

fn route(slot: u16) -> RoutingInfo {
    let route = Route::new(slot, SlotAddr::Master);
    RoutingInfo::SingleNode(SingleNodeRoutingInfo::SpecificNode(route))
}

/// What `CLUSTER SLOTS` says: ranges as `[first, last, [host, port, …], replicas…]`, several per
/// primary. A node that does not know its host, or is not to tell, is on the one that was `asked`:
/// it has none here if that is not known.
///
/// # Errors
///
/// If it names no primary.
pub(crate) fn parse(
    reply: &Value,
    address: &str,
    asked: Option<&str>,
) -> Result<Vec<Shard>, CacheError> {
    let mut shards: Vec<Shard> = Vec::new();
    let ranges = match reply {
        Value::Array(ranges) => ranges.as_slice(),
        _ => &[],
    };
    for range in ranges {
        let Value::Array(range) = range else { continue };
        let [Value::Int(first), _, Value::Array(node), ..] = range.as_slice() else { continue };
        let [host, Value::Int(port), ..] = node.as_slice() else { continue };
        let host = match host {
            Value::BulkString(host) => String::from_utf8_lossy(host),
            Value::Nil => "".into(),
            _ => continue,
        };
        let host = match &*host {
            // A node of which nothing is known.
            "?" => continue,
            "" | "0.0.0.0" | "::" => asked.unwrap_or_default().to_owned(),
            host => host.to_owned(),
        };
        let (Ok(first_slot), Ok(port)) = (u16::try_from(*first), u16::try_from(*port)) else {
            continue;
        };
        match shards.iter_mut().find(|shard| shard.host == host && shard.port == port) {
            Some(shard) => shard.first_slot = shard.first_slot.min(first_slot),
            None => shards.push(Shard { first_slot, host, port }),
        }
    }
    if shards.is_empty() {
        return Err(unavailable(address, "no node serves any hash slot"));
    }
    Ok(shards)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_one_primary_are_one_shard() {
        let node =
            |port| Value::Array(vec![Value::BulkString(b"10.0.0.1".to_vec()), Value::Int(port)]);
        let range = |first, last, port| {
            Value::Array(vec![Value::Int(first), Value::Int(last), node(port), node(9)])
        };
        let reply = Value::Array(vec![
            range(100, 200, 1),
            range(201, 16_383, 2),
            range(0, 99, 1),
            Value::Nil,
        ]);
        let shards = parse(&reply, "c", Some("h")).unwrap();
        let shard = |first_slot, port| Shard { first_slot, host: "10.0.0.1".to_owned(), port };
        assert_eq!(shards, [shard(0, 1), shard(201, 2)]);
    }

    #[test]
    fn a_primary_without_a_host_is_on_the_one_that_was_asked() {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let hosts = [Value::Nil, text(""), text("0.0.0.0"), text("?"), text("h2")];
        let range = |(at, host): (i64, Value)| {
            let node = Value::Array(vec![host, Value::Int(at)]);
            Value::Array(vec![Value::Int(at), Value::Int(at), node])
        };
        let reply = Value::Array((1_i64..).zip(hosts).map(range).collect());
        let found = |asked| {
            let shards = parse(&reply, "c", asked).unwrap();
            shards.into_iter().map(|shard| (shard.host, shard.port)).collect::<Vec<_>>()
        };
        let expected = |host: &str| {
            [(host, 1), (host, 2), (host, 3), ("h2", 5)].map(|(host, port)| (host.to_owned(), port))
        };
        assert_eq!(found(Some("h1")), expected("h1"));
        assert_eq!(found(None), expected(""));
    }
}
