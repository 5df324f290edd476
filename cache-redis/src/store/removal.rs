//! Removal: by name, and by SCAN.

use cache_core::{CacheError, ErrorKind, Selector, check_key};
use futures_util::future::try_join_all;
use redis::{Cmd, FromRedisValue};

use super::{CHUNK, READ, RedisStore};
use crate::connection::{Call, Lane, Primary, Retry};
use crate::key::chunks;

/// Keys that one step of a SCAN looks at.
const SCAN_COUNT: usize = 1_000;

/// How often a step is tried that is not answered in time.
const TRIES: usize = 3;

const SCAN: Call = Call::new(Lane::Scan).retry(Retry::Once);

impl RedisStore {
    pub(super) async fn take_away(&self, what: &Selector) -> Result<Option<u64>, CacheError> {
        match what {
            Selector::Keys(keys) => {
                let names = self.names(keys)?;
                self.unlink(&names).await?;
            }
            Selector::Prefix(prefix) => self.unlink_matching(&self.keys.pattern(prefix)).await?,
            Selector::All => self.unlink_matching(&self.keys.pattern("")).await?,
            other => {
                let message = format!("the Redis store cannot remove by {other:?}");
                return Err(CacheError::new(ErrorKind::Config, message));
            }
        }
        // Redis counts leases on absent keys too, so how many entries there were is not known.
        Ok(None)
    }

    /// The names in Redis of keys that are checked.
    pub(super) fn names(&self, keys: &[String]) -> Result<Vec<String>, CacheError> {
        keys.iter().try_for_each(|key| check_key(key))?;
        Ok(keys.iter().map(|key| self.keys.key(key)).collect())
    }

    async fn unlink(&self, keys: &[String]) -> Result<(), CacheError> {
        let unlink = |chunk: Vec<usize>| {
            let cmd = unlink(chunk.into_iter().map(|at| &keys[at]));
            async move { self.connections.query::<u64>(READ, &cmd).await }
        };
        let chunks = chunks(keys.len(), CHUNK, self.connections.is_cluster(), |at| &keys[at]);
        try_join_all(chunks.into_iter().map(unlink)).await.map(drop)
    }

    /// Removes by SCAN and UNLINK, page by page, on every primary. A step that is late is made again
    /// once the sweep is under way: from the beginning it would meet the next one that is late.
    async fn unlink_matching(&self, pattern: &str) -> Result<(), CacheError> {
        let sweep = |primary: Primary| async move {
            let mut cursor = 0_u64;
            loop {
                let mut scan = redis::cmd("SCAN");
                scan.arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(SCAN_COUNT);
                let tries = if cursor == 0 { 1 } else { TRIES };
                let (next, page): (u64, Vec<Vec<u8>>) = step(&primary, &scan, tries).await?;
                // In a cluster the keys of a command must share a slot: one key each, all at once.
                let size = if self.connections.is_cluster() { 1 } else { page.len().max(1) };
                let unlink = |keys: &[Vec<u8>]| {
                    let mut cmd = redis::cmd("UNLINK");
                    for key in keys {
                        cmd.arg(key);
                    }
                    let primary = &primary;
                    async move { step::<u64>(primary, &cmd, TRIES).await }
                };
                try_join_all(page.chunks(size).map(unlink)).await?;
                if next == 0 {
                    return Ok::<_, CacheError>(());
                }
                cursor = next;
            }
        };
        let primaries = self.connections.primaries().await?;
        try_join_all(primaries.into_iter().map(sweep)).await.map(drop)
    }
}

/// One step of a sweep; either kind may be made twice.
async fn step<T: FromRedisValue + Send>(
    primary: &Primary,
    cmd: &Cmd,
    tries: usize,
) -> Result<T, CacheError> {
    let mut left = tries;
    loop {
        left -= 1;
        match primary.query(SCAN, cmd).await {
            Err(error) if error.kind() == ErrorKind::Timeout && left > 0 => {}
            answer => return answer,
        }
    }
}

/// Removes these names at once; in a cluster they are of one slot.
pub(super) fn unlink<'a>(names: impl IntoIterator<Item = &'a String>) -> Cmd {
    let mut cmd = redis::cmd("UNLINK");
    for name in names {
        cmd.arg(name);
    }
    cmd
}
