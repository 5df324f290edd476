//! Scripts on the server. Of leases: three, each one round trip and one key. Of writes: see `write`.
//!
//! Rules:
//!
//! 1. A script looks at the header only and moves no payload, but for the record it is given to
//!    store and the value it answers with.
//! 2. Deadlines are judged by the server's clock.
//! 3. A lease is known by its id alone. So an id is used for one request: a `lease` of unknown
//!    outcome is never sent again under the same id, as a copy that comes late would bring back
//!    what an invalidation has revoked. Sending [`Call::Abandon`] for the old id and asking anew
//!    under another is safe.
//! 4. Repeating a `fill` or an `abandon` is harmless: at most the first does anything. The second
//!    answers 0 although the first succeeded.
//! 5. A `lease` or a write that was given up is not done later: both say until when they may be.
//!    The others do nothing that a later removal or write leaves undone.

use std::sync::LazyLock;
use std::time::Duration;

use cache_core::Timestamp;
use redis::{Cmd, FromRedisValue, ParsingError, Value};

pub(crate) use self::write::{Put, Write};

mod write;

/// The source of a script: what all share, then its own.
macro_rules! source {
    ($file:literal) => {
        concat!(include_str!("prelude.lua"), "\n", include_str!($file))
    };
}

static LEASE: LazyLock<Script> = LazyLock::new(|| Script::new(source!("lease.lua")));
static FILL: LazyLock<Script> = LazyLock::new(|| Script::new(source!("fill.lua")));
static ABANDON: LazyLock<Script> = LazyLock::new(|| Script::new(source!("abandon.lua")));

/// How much of what was found [`Purpose::Repair`] shows, in bytes at most.
const SEEN_LEN: usize = 36;

struct Script {
    source: &'static str,
    sha1: String,
}

impl Script {
    fn new(source: &'static str) -> Self {
        Self { source, sha1: redis::Script::new(source).get_hash().to_owned() }
    }
}

/// How many arguments a command has at most, and how long those are in all that are short.
const ARGUMENTS: usize = 10;
const SMALL_ARGUMENTS: usize = 112;

/// What a lease is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose<'a> {
    /// A load on a miss: whatever is fresh is answered instead.
    Load,
    /// A value that is to be replaced although it is fresh.
    Refresh,
    /// Bytes that `wire::decode` could not use, as they were found. If they are there still, they
    /// make room for the lease.
    Repair(&'a [u8]),
    /// Plain JSON that is to be replaced, as a record: if it is there still, the record takes its
    /// place and has room for the lease.
    Adopt(&'a [u8]),
}

/// What is said to those who wait for a lease to be over, if there are any.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Notice<'a> {
    pub(crate) channel: &'a str,
    pub(crate) message: &'a str,
}

/// One call of a script, on one key.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Call<'a> {
    /// Asks for the right to fill; answers a [`LeaseReply`]. `ttl` counts up to a day. `waits`: to
    /// be told when another's lease is over. It is not granted once the server's clock shows more
    /// than `latest`.
    Lease {
        key: &'a str,
        id: u64,
        ttl: Duration,
        purpose: Purpose<'a>,
        waits: bool,
        latest: Option<Timestamp>,
    },
    /// Stores a record under a lease; answers whether it was good still. The record's own
    /// servable-until sets the key's life; one that is over leaves no key.
    Fill { key: &'a str, id: u64, record: &'a [u8], notice: Option<Notice<'a>> },
    /// Gives a lease back; answers whether it was there still.
    Abandon { key: &'a str, id: u64, notice: Option<Notice<'a>> },
}

impl Call<'_> {
    /// By the script's hash. The server may not know it: `NOSCRIPT`, and nothing has happened.
    pub(crate) fn by_hash(&self) -> Cmd {
        self.command("EVALSHA", &self.script().sha1)
    }

    /// With the whole script, which the server then knows by its hash.
    pub(crate) fn by_source(&self) -> Cmd {
        self.command("EVAL", self.script().source)
    }

    fn command(&self, name: &str, script: &str) -> Cmd {
        // With room for all of it: it would be moved half a dozen times as it grows.
        let mut cmd = Cmd::with_capacity(ARGUMENTS, script.len() + self.size() + SMALL_ARGUMENTS);
        cmd.arg(name).arg(script);
        self.args(cmd)
    }

    /// How long those arguments are that may be long.
    fn size(&self) -> usize {
        let told = |notice: Option<Notice<'_>>| {
            notice.map_or(0, |Notice { channel, message }| channel.len() + message.len())
        };
        match *self {
            Self::Lease { key, purpose: Purpose::Adopt(record), .. } => key.len() + record.len(),
            Self::Lease { key, .. } => key.len(),
            Self::Fill { key, record, notice, .. } => key.len() + record.len() + told(notice),
            Self::Abandon { key, notice, .. } => key.len() + told(notice),
        }
    }

    fn script(&self) -> &'static Script {
        match self {
            Self::Lease { .. } => &LEASE,
            Self::Fill { .. } => &FILL,
            Self::Abandon { .. } => &ABANDON,
        }
    }

    fn args(&self, mut cmd: Cmd) -> Cmd {
        cmd.arg(1);
        match *self {
            Self::Lease { key, id, ttl, purpose, waits, latest: until } => {
                let micros = u64::try_from(ttl.as_micros()).unwrap_or(u64::MAX);
                cmd.arg(key).arg(&id.to_be_bytes()).arg(micros);
                let (word, seen) = match purpose {
                    Purpose::Load => ("load", &[][..]),
                    Purpose::Refresh => ("refresh", &[][..]),
                    Purpose::Repair(found) => ("repair", &found[..found.len().min(SEEN_LEN)]),
                    Purpose::Adopt(record) => ("adopt", record),
                };
                cmd.arg(word).arg(seen).arg(if waits { "waits" } else { "" });
                latest(&mut cmd, until);
            }
            Self::Fill { key, id, record, notice } => {
                cmd.arg(key).arg(&id.to_be_bytes()).arg(record);
                tell(&mut cmd, notice);
            }
            Self::Abandon { key, id, notice } => {
                cmd.arg(key).arg(&id.to_be_bytes());
                tell(&mut cmd, notice);
            }
        }
        cmd
    }
}

fn latest(cmd: &mut Cmd, latest: Option<Timestamp>) {
    match latest {
        Some(latest) => cmd.arg(latest.as_micros()),
        None => cmd.arg(""),
    };
}

fn tell(cmd: &mut Cmd, notice: Option<Notice<'_>>) {
    if let Some(Notice { channel, message }) = notice {
        cmd.arg(channel).arg(message);
    }
}

/// What [`Call::Lease`] answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LeaseReply {
    /// Load, then fill or abandon.
    Granted,
    /// Another's lease runs for so long.
    Held(Duration),
    /// The request came too late; nothing has happened.
    Late,
    /// There is a value by the look of its first bytes. If it does not decode, ask again with
    /// [`Purpose::Repair`].
    Present {
        /// What stands under the key.
        bytes: Vec<u8>,
        /// How long the key lives, `None` being for ever. Told only of what has no header.
        ttl: Option<Duration>,
    },
}

impl FromRedisValue for LeaseReply {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        let Value::Array(items) = value else {
            return Err("the lease script answered with no list".into());
        };
        let mut items = items.into_iter();
        match (items.next(), items.next(), items.next()) {
            (Some(Value::Int(1)), None, None) => Ok(Self::Granted),
            (Some(Value::Int(0)), Some(Value::Int(micros)), None) => {
                Ok(Self::Held(Duration::from_micros(micros.try_into().unwrap_or(0))))
            }
            (Some(Value::Int(3)), None, None) => Ok(Self::Late),
            (Some(Value::Int(2)), Some(Value::BulkString(bytes)), ttl) => {
                let ttl = match ttl {
                    Some(Value::Int(millis)) => millis.try_into().ok().map(Duration::from_millis),
                    _ => None,
                };
                Ok(Self::Present { bytes, ttl })
            }
            _ => Err("the lease script answered with an unknown list".into()),
        }
    }
}
