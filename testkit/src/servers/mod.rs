//! Throw-away servers, and a proxy that spoils the way to them.

mod builder;
mod cluster;
mod command;
mod dir;
mod launch;
mod options;
mod port;
mod process;
mod proxy;
mod replication;
mod resp;
mod sentinel;
mod server;
mod tls;
mod url;

pub use builder::RedisServerBuilder;
pub use cluster::{RedisCluster, RedisClusterBuilder};
pub use proxy::{Direction, FaultProxy};
pub use resp::Reply;
pub use sentinel::RedisSentinel;
pub use server::RedisServer;
