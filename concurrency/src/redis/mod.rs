//! Locks over Redis.
//!
//! - `service.rs`: [`RedisConcurrencyService`], the trait;
//! - `acquire.rs`: from a caller to a guard, `hold.rs` what a grant consists of, `durability.rs` who
//!   else must know of it;
//! - `waiting.rs`: a caller's way through the queue, `hand_over.rs` how it hears that it is its turn;
//! - `holds.rs` and `renew.rs`: the locks held, and the task that renews them;
//! - `release.rs`: the task that gives them back;
//! - `eviction.rs`: a look at the server's settings;
//! - `script.rs` and `names.rs`: what Redis is asked, and where things stand there.

mod acquire;
mod builder;
mod durability;
mod error;
mod eviction;
mod hand_over;
mod hold;
mod holds;
mod inner;
mod known;
mod names;
mod release;
mod renew;
mod script;
mod service;
mod waiting;

pub use builder::RedisConcurrencyBuilder;
pub use service::RedisConcurrencyService;
