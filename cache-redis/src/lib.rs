#![doc = include_str!("../README.md")]

mod bus;
mod channel;
mod config;
mod connection;
mod error;
mod giving_back;
mod key;
mod random;
mod script;
mod service;
mod store;
mod url;
mod wire;

pub use bus::{BusStats, RedisBus};
pub use channel::{Channel, ChannelEvent};
pub use config::RedisConfig;
pub use connection::{
    Call, ConnectionState, ConnectionStats, Connections, Lane, Primary, Retry, Script, Sent, slot,
};
pub use service::RedisCacheService;
pub use store::RedisStore;
