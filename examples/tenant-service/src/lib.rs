#![doc = include_str!("../README.md")]

mod admin;
mod app;
mod changes;
pub mod client;
mod clock;
mod config;
mod context;
mod database;
mod http;
mod identity;
mod input;
mod live;
pub mod load;
mod lookups;
mod metrics;
mod model;
mod problem;
mod secret;
mod server;
mod serving;
mod session;
mod upstream;

pub use app::{App, Counts};
pub use config::{Problems, Settings};
pub use context::{Caller, Tenant};
pub use database::{ChangeError, Database, DatabaseError, OrgChange, Revoked, seed};
pub use http::router;
pub use identity::{
    Host, Identity, LONGEST_HOST, LONGEST_SLUG, Malformed, Slug, keys_of, parse_id, user_key,
};
pub use live::{Live, LiveSettings, Ttl};
pub use lookups::{Lookups, Mode, ShadowCounts, Value};
pub use model::{Org, Token, User};
pub use problem::Problem;
pub use secret::{LONGEST_TOKEN, Secret, TokenHash, bearer};
pub use server::{Ended, Instance, Parts, StartError};
pub use upstream::{Session, Upstream};
