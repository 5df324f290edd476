//! The socket options of ours, for everybody who lets one set them.

use std::time::Duration;

use redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use redis::{Client, IntoConnectionInfo};

/// `TCP_NODELAY`, and a peer that is silent counts as lost.
pub(crate) fn tcp() -> TcpSettings {
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(10))
        .with_interval(Duration::from_secs(2));
    TcpSettings::default()
        .set_nodelay(true)
        .set_keepalive(keepalive)
        .set_user_timeout(Duration::from_secs(2))
}

/// A client whose connections have them.
pub(crate) fn client(url: &str) -> Client {
    Client::open(url.into_connection_info().unwrap().set_tcp_settings(tcp())).unwrap()
}
