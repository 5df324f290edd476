//! What Redis is asked: five scripts, each one round trip.
//!
//! Rules:
//! 1. A script changes nothing unless the lock is as its caller believes: free, or held by the
//!    token that the caller names. So each may be sent again, and arrive late.
//! 2. A fence is never written by Lua's own number format, which drops digits.
//! 3. The fence's key outlives the lock's by a week, and every key has a TTL.

use std::sync::LazyLock;
use std::time::Duration;

use cache_core::CacheError;
use cache_redis::{Call, Connections, Lane, Retry, Script};

use super::names::Names;

/// Leases beyond ten years are cut to that: Redis cannot count much further.
pub(crate) const LONGEST: Duration = Duration::from_secs(10 * 365 * 86_400);
const FENCE_OUTLIVES: Duration = Duration::from_secs(7 * 86_400);

static ACQUIRE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lua/acquire.lua")));
static RENEW: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lua/renew.lua")));
static RELEASE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lua/release.lua")));
static INSPECT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lua/inspect.lua")));
static FORCE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lua/force.lua")));

/// A connection broken in mid-reply is no reason to give up what may be repeated.
const REPEATABLE: Call = Call::new(Lane::Small).retry(Retry::Once);
const ONCE: Call = Call::new(Lane::Small);

/// How an attempt to take a lock ended.
pub(crate) enum Acquired {
    /// It is ours, under this fencing token.
    Fence(u64),
    /// It is another's; how long it lives still, where that is bounded, and that one's token.
    Held(Option<Duration>, Vec<u8>),
}

/// Who holds a lock.
pub(crate) struct Holder {
    pub(crate) token: Vec<u8>,
    pub(crate) fence: u64,
    pub(crate) remaining: Duration,
    pub(crate) held_for: Duration,
}

/// The scripts' server.
#[derive(Clone)]
pub(crate) struct Redis(pub(crate) Connections);

impl Redis {
    /// Takes the lock if it is free, or `token`'s already.
    pub(crate) async fn acquire(
        &self,
        names: &Names,
        token: &str,
        lease: Duration,
    ) -> Result<Acquired, CacheError> {
        let (keys, life) = ([&*names.lock, &*names.fence], lives(lease));
        let args = [token.as_bytes(), life[0].as_bytes(), life[1].as_bytes()];
        let (granted, number, holder): (bool, i64, Vec<u8>) =
            self.0.script(REPEATABLE, &ACQUIRE, &keys, &args).await?;
        if granted {
            return Ok(Acquired::Fence(number.unsigned_abs()));
        }
        Ok(Acquired::Held(u64::try_from(number).ok().map(Duration::from_millis), holder))
    }

    /// Gives `lease` to the lock from now on; false if it is not `token`'s.
    pub(crate) async fn renew(
        &self,
        names: &Names,
        token: &str,
        lease: Duration,
    ) -> Result<bool, CacheError> {
        let (keys, life) = ([&*names.lock, &*names.fence], lives(lease));
        let args = [token.as_bytes(), life[0].as_bytes(), life[1].as_bytes()];
        self.0.script(REPEATABLE, &RENEW, &keys, &args).await
    }

    /// Frees the lock; false if it is not `token`'s. Not repeated: then false could not be told
    /// from a reply that was lost.
    pub(crate) async fn release(&self, names: &Names, token: &str) -> Result<bool, CacheError> {
        self.0.script(ONCE, &RELEASE, &[&*names.lock], &[token.as_bytes()]).await
    }

    pub(crate) async fn inspect(&self, names: &Names) -> Result<Option<Holder>, CacheError> {
        let keys = [&*names.lock, &*names.fence];
        let found: Option<(Vec<u8>, i64, i64, i64)> =
            self.0.script(REPEATABLE, &INSPECT, &keys, &[]).await?;
        Ok(found.map(|(token, left, fence, since)| Holder {
            token,
            fence: u64::try_from(fence).unwrap_or(0),
            // Without a TTL, which none of ours is, it stays for good.
            remaining: u64::try_from(left).map_or(Duration::MAX, Duration::from_millis),
            held_for: Duration::from_micros(u64::try_from(since).unwrap_or(0)),
        }))
    }

    /// Frees the lock if it was granted with this fence; false if not.
    pub(crate) async fn force(&self, names: &Names, fence: u64) -> Result<bool, CacheError> {
        let (keys, fence) = ([&*names.lock, &*names.fence], fence.to_string());
        self.0.script(ONCE, &FORCE, &keys, &[fence.as_bytes()]).await
    }
}

/// How long lock and fence live, in milliseconds, written out.
fn lives(lease: Duration) -> [String; 2] {
    [lease, lease + FENCE_OUTLIVES].map(|life| life.as_millis().to_string())
}
