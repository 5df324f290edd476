//! Throw-away servers, and a proxy that spoils the way to them.

mod builder;
mod command;
mod dir;
mod launch;
mod options;
mod port;
mod process;
mod proxy;
mod resp;
mod server;
mod tls;
mod url;

pub use builder::RedisServerBuilder;
pub use proxy::{Direction, FaultProxy};
pub use resp::Reply;
pub use server::RedisServer;
