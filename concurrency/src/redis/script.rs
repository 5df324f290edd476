//! What Redis is asked: scripts, each one round trip.
//!
//! Rules:
//! 1. A script changes nothing unless the lock is as its caller believes: free, or held by the
//!    token that the caller names. So each may be sent again, and arrive late.
//! 2. Whoever finds a lock free hands it to the first who waits, in the same script: the one who
//!    releases, who takes it away, and who comes for it later than others.
//! 3. Nobody is told of a grant before the server has taken a write of the same script: a script that
//!    is refused, by a replica or for want of one, has done and said nothing.
//! 4. A fence is never written by Lua's own number format, which drops digits.
//! 5. An attempt to take a lock is not done once its caller has given it up, by the server's clock: a
//!    copy that was held up on its way for however long does nothing. In a cluster, where each node has a
//!    clock of its own, and while the server's is not known or is found to be another, it has no such end.
//! 6. The fence's key outlives the lock's by a week, and every key has a TTL.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use cache_core::{CacheError, Clock, Timestamp};
use cache_redis::{Call, Connections, Lane, Retry, Script, Sent};
use redis::cmd;

use super::names::{Names, Namespace};

/// Leases beyond ten years are cut to that: Redis cannot count much further.
pub(crate) const LONGEST: Duration = Duration::from_secs(10 * 365 * 86_400);
/// How long who was handed a lock has to claim it, if its lease is not shorter. `common.lua` has
/// it too.
pub(crate) const CLAIM: Duration = Duration::from_secs(2);
const FENCE_OUTLIVES: Duration = Duration::from_secs(7 * 86_400);
/// Locks that are renewed in one script: it holds up the server for a tenth of a millisecond.
pub(crate) const AT_ONCE: usize = 100;

macro_rules! script {
    ($($file:literal),+) => {
        LazyLock::new(|| Script::new(concat!($(include_str!(concat!("lua/", $file))),+)))
    };
}

static ACQUIRE: LazyLock<Script> = script!("common.lua", "acquire.lua");
static RELEASE: LazyLock<Script> = script!("common.lua", "release.lua");
static INSPECT: LazyLock<Script> = script!("common.lua", "inspect.lua");
static FORCE: LazyLock<Script> = script!("common.lua", "force.lua");
const TOUCH: &str = include_str!("lua/touch.lua");
static RENEW: LazyLock<Script> = script!("renew.lua");

/// A connection broken in mid-reply is no reason to give up what may be repeated.
const REPEATABLE: Call = Call::new(Lane::Small).retry(Retry::Once);
const ONCE: Call = Call::new(Lane::Small);

/// What `acquire.lua` answers first, if not that another has the lock.
const GRANTED: i64 = 1;
const TOO_LATE: i64 = 2;

/// How an attempt to take a lock ended.
pub(crate) enum Acquired {
    /// It is ours, under this fencing token.
    Fence(u64),
    /// It is another's; how long it lives still, where that is bounded, and that one's token.
    Held(Option<Duration>, Vec<u8>),
}

/// What has been asked under a token.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asked {
    pub(crate) sent: Sent,
    /// Not all of it has an end: see rule 5.
    pub(crate) ever: bool,
}

/// A place in the queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// How long it is kept without another question; zero: there is none.
    pub(crate) patience: Duration,
    /// Whether its waiter hears that it is its turn. If not it asks, and is handed a lock unheard.
    pub(crate) listens: bool,
}

impl Place {
    pub(crate) const NONE: Self = Self { patience: Duration::ZERO, listens: false };
}

/// Who holds a lock.
pub(crate) struct Holder {
    pub(crate) token: Vec<u8>,
    pub(crate) fence: u64,
    pub(crate) remaining: Duration,
    pub(crate) held_for: Duration,
    pub(crate) waiters: usize,
}

/// The scripts' server.
#[derive(Clone)]
pub(crate) struct Redis {
    pub(crate) connections: Connections,
    /// What the channels' names begin with.
    channels: String,
    /// When a script was last answered, in microseconds.
    answered: Arc<AtomicU64>,
}

impl Redis {
    pub(crate) fn new(connections: Connections, namespace: &Namespace) -> Self {
        let channels = namespace.channels().to_owned();
        Self { connections, channels, answered: Arc::default() }
    }

    /// The channel on which a process hears of hand-overs.
    pub(crate) fn channel(&self, process: &str) -> String {
        format!("{}{process}", self.channels)
    }

    async fn script<T: redis::FromRedisValue + Send>(
        &self,
        call: Call,
        script: &Script,
        names: &Names,
        token: &str,
        more: &[&[u8]],
    ) -> Result<T, CacheError> {
        self.script_counted(call, script, names, token, more, &mut Sent::default()).await
    }

    async fn script_counted<T: redis::FromRedisValue + Send>(
        &self,
        call: Call,
        script: &Script,
        names: &Names,
        token: &str,
        more: &[&[u8]],
        sent: &mut Sent,
    ) -> Result<T, CacheError> {
        let keys = [&*names.lock, &*names.fence, &*names.queue, &*names.waiters];
        // A cluster's node counts those who listen to it, and there they listen to any.
        let counted: &[u8] = if self.connections.is_cluster() { b"0" } else { b"1" };
        let mut args = vec![token.as_bytes(), self.channels.as_bytes(), counted];
        args.extend(more);
        let answer = self.connections.script_counted(call, script, &keys, &args, sent).await?;
        self.answered.store(Clock::system().now().as_micros(), Relaxed);
        Ok(answer)
    }

    /// Whether a script has been answered, and not refused, since then by the system's clock.
    pub(crate) fn has_answered_since(&self, then: Timestamp) -> bool {
        self.answered.load(Relaxed) >= then.as_micros()
    }

    /// Takes the lock if it is `token`'s already, or free with nobody waiting in front. If not, the
    /// token is in the queue as `place` says.
    pub(crate) async fn acquire(
        &self,
        names: &Names,
        token: &str,
        lease: Duration,
        place: Place,
        asked: &mut Asked,
    ) -> Result<Acquired, CacheError> {
        let latest = self.connections.latest(self.usual_budget());
        self.acquire_before(latest, names, token, lease, place, asked).await
    }

    /// The same before this time by the server's clock: rule 5.
    async fn acquire_before(
        &self,
        latest: Option<Timestamp>,
        names: &Names,
        token: &str,
        lease: Duration,
        place: Place,
        asked: &mut Asked,
    ) -> Result<Acquired, CacheError> {
        let [lease, patience] = [lease, place.patience].map(millis);
        let listens: &[u8] = if place.listens { b"1" } else { b"0" };
        let (mut latest, mut call, began) = (latest, REPEATABLE, Instant::now());
        loop {
            asked.ever |= latest.is_none();
            let until = latest.map_or_else(String::new, |latest| latest.as_micros().to_string());
            let terms = [lease.as_bytes(), patience.as_bytes(), listens, until.as_bytes()];
            let (answer, number, holder): (i64, i64, Vec<u8>) =
                self.script_counted(call, &ACQUIRE, names, token, &terms, &mut asked.sent).await?;
            if answer == TOO_LATE && latest.is_some() {
                // And here is the answer in time: that clock is not what it was thought to be.
                (latest, asked.sent.0) = (None, asked.sent.0.saturating_sub(1));
                call = call.budget(self.usual_budget().saturating_sub(began.elapsed()));
                continue;
            }
            if answer == GRANTED {
                return Ok(Acquired::Fence(number.unsigned_abs()));
            }
            return Ok(Acquired::Held(
                u64::try_from(number).ok().map(Duration::from_millis),
                holder,
            ));
        }
    }

    /// Gives each lock its lease from now on, within `budget`; false for those that are not their
    /// token's. In a cluster they must be in one slot.
    pub(crate) async fn renew(
        &self,
        locks: &[(&Names, &str, Duration)],
        budget: Duration,
    ) -> Result<Vec<bool>, CacheError> {
        let leases: Vec<_> = locks.iter().map(|(_, _, lease)| millis(*lease)).collect();
        let keys: Vec<_> =
            locks.iter().flat_map(|(names, ..)| [&*names.lock, &*names.fence]).collect();
        let args = locks.iter().zip(&leases);
        let args: Vec<_> =
            args.flat_map(|((_, token, _), lease)| [token.as_bytes(), lease.as_bytes()]).collect();
        self.connections.script(REPEATABLE.budget(budget), &RENEW, &keys, &args).await
    }

    /// Frees the lock, or hands it to the next; false if it is not `token`'s. Then that token is
    /// not in the queue any more. Not repeated: then false could not be told from a reply that was
    /// lost.
    pub(crate) async fn release(
        &self,
        names: &Names,
        token: &str,
        sent: &mut Sent,
    ) -> Result<bool, CacheError> {
        self.script_counted(ONCE, &RELEASE, names, token, &[], sent).await
    }

    /// As [`release`](Self::release), within this time, where nobody asks how it went.
    pub(crate) async fn give_up(
        &self,
        names: &Names,
        token: &str,
        budget: Duration,
    ) -> Result<bool, CacheError> {
        self.script(ONCE.budget(budget), &RELEASE, names, token, &[]).await
    }

    /// The time that an operation has unless said otherwise.
    pub(crate) fn usual_budget(&self) -> Duration {
        self.connections.budget(ONCE)
    }

    pub(crate) async fn inspect(&self, names: &Names) -> Result<Option<Holder>, CacheError> {
        let found: Option<(Vec<u8>, i64, i64, i64, usize)> =
            self.script(REPEATABLE, &INSPECT, names, "", &[]).await?;
        Ok(found.map(|(token, left, fence, since, waiters)| Holder {
            token,
            fence: u64::try_from(fence).unwrap_or(0),
            // Without a TTL, which none of ours is, it stays for good.
            remaining: u64::try_from(left).map_or(Duration::MAX, Duration::from_millis),
            held_for: Duration::from_micros(u64::try_from(since).unwrap_or(0)),
            waiters,
        }))
    }

    /// Frees the lock, or hands it to the next, if it was granted with this fence; false if not.
    pub(crate) async fn force(&self, names: &Names, fence: u64) -> Result<bool, CacheError> {
        let fence = fence.to_string();
        self.script(ONCE, &FORCE, names, "", &[fence.as_bytes()]).await
    }

    /// Which of these locks are their token's, and how many replicas have all that was written to them
    /// before now, once they are as many as `enough` or `within` is over. For one server and its
    /// replicas.
    pub(crate) async fn replicated(
        &self,
        locks: &[(&Names, &str, Duration)],
        enough: u32,
        within: Duration,
    ) -> Result<(Vec<bool>, u32), CacheError> {
        // On a connection of those for long work: WAIT holds up what comes behind it. It counts
        // from what its own connection wrote last, so that has to be something, and on the server
        // that has the locks: another may have taken over since the grant. By its source: as part of
        // a pipeline it could not be sent anew where it is not known.
        let call = Call::new(Lane::Scan).budget(within + self.usual_budget());
        let mut all = redis::pipe();
        for (names, token, lease) in locks {
            all.cmd("EVAL").arg(TOUCH).arg(2).arg(&names.lock).arg(&names.fence);
            all.arg(token).arg(millis(lease.saturating_add(FENCE_OUTLIVES)));
        }
        all.cmd("WAIT").arg(enough).arg(millis(within));
        let mut replies = self.connections.pipeline(call, &all).await?.into_iter();
        let written = replies.by_ref().take(locks.len());
        let written =
            written.map(|reply| self.connections.convert(reply)).collect::<Result<_, _>>()?;
        let replicas = self.connections.convert(replies.next().unwrap_or(redis::Value::Nil))?;
        Ok((written, replicas))
    }

    /// The locks that are held, `limit` at most.
    pub(crate) async fn held(
        &self,
        namespace: &Namespace,
        limit: usize,
    ) -> Result<Vec<String>, CacheError> {
        let scan = Call::new(Lane::Scan);
        let mut found = std::collections::BTreeSet::new();
        for primary in self.connections.primaries().await? {
            let mut cursor = 0_u64;
            loop {
                let mut page = cmd("SCAN");
                page.arg(cursor).arg("MATCH").arg(namespace.held()).arg("COUNT").arg(1_000);
                page.arg("TYPE").arg("string");
                let (next, names): (u64, Vec<Vec<u8>>) = primary.query(scan, &page).await?;
                // None of ours is no text.
                let names = names.iter().filter_map(|name| str::from_utf8(name).ok());
                found.extend(names.filter_map(|name| namespace.lock_of(name)));
                cursor = next;
                if cursor == 0 || found.len() >= limit {
                    break;
                }
            }
        }
        Ok(found.into_iter().take(limit).collect())
    }
}

/// Milliseconds, written out.
fn millis(duration: Duration) -> String {
    duration.as_millis().to_string()
}

#[cfg(test)]
mod tests {
    use cache_redis::RedisConfig;
    use cache_testkit::RedisServer;

    use super::*;

    #[tokio::test]
    async fn an_attempt_that_is_too_late_by_a_clock_that_was_set_is_repeated() {
        let server = RedisServer::start();
        let config = RedisConfig::from_url(&server.url()).expect("it is a URL");
        let connections = Connections::connect(&config).await.expect("there is a server");
        let namespace = Namespace::new("a");
        let redis = Redis::new(connections, &namespace);
        let (names, lease) = (namespace.names("k"), Duration::from_secs(60));
        let (past, mut asked) = (Some(Timestamp::from_micros(1)), Asked::default());
        let taking = redis.acquire_before(past, &names, "t", lease, Place::NONE, &mut asked);
        assert!(matches!(taking.await.expect("it is answered"), Acquired::Fence(_)));
        assert_eq!(asked.sent, Sent(1), "what came too late may come again");
        assert!(asked.ever, "the repetition names no time");
        assert_eq!(server.command(&["GET", &names.lock]), "t");
    }
}
