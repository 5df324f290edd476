//! Removal: by name, and by SCAN.

use std::time::Duration;

use cache_core::{CacheError, ErrorKind, Selector, check_key};
use futures_util::future::try_join_all;
use redis::{Cmd, FromRedisValue, Pipeline};

use super::{CHUNK, READ, RedisStore};
use crate::connection::{Call, Generation, Lane, Primary, Retry};
use crate::key::chunks;

/// Keys that one step of a SCAN looks at.
const SCAN_COUNT: usize = 1_000;

/// How often a step is tried that is not answered in time.
const TRIES: usize = 3;

/// How often a sweep is begun.
const SWEEPS: usize = 5;

/// How often all primaries are swept where slots move from one to another.
const ROUNDS: usize = 4;

/// Before that, if they have moved just now.
const PAUSE: Duration = Duration::from_millis(250);

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
        // While a slot of a cluster moves, some of its keys may be here and others there: one each.
        let together = if self.connections.is_cluster() { 1 } else { CHUNK };
        let unlink = |chunk: Vec<usize>| {
            let mut pipeline = Pipeline::new();
            for keys_at in chunk.chunks(together) {
                pipeline.add_command(unlink(keys_at.iter().map(|at| &keys[*at])));
            }
            async move {
                let replies = self.connections.pipeline(READ, &pipeline).await?;
                replies
                    .into_iter()
                    .try_for_each(|reply| self.connections.convert::<u64>(reply).map(drop))
            }
        };
        let chunks = chunks(keys.len(), CHUNK, self.connections.is_cluster(), |at| &keys[at]);
        try_join_all(chunks.into_iter().map(unlink)).await.map(drop)
    }

    /// Removes by SCAN and UNLINK, page by page, on every primary.
    ///
    /// A key of a cluster may go meanwhile from a primary that has still to look for it to one that has
    /// looked already. So that is done until none can have: once if no slot has moved; twice if some are
    /// moving, and no others then: what was not where it came from the first time is found where it has
    /// gone the second time.
    async fn unlink_matching(&self, pattern: &str) -> Result<(), CacheError> {
        let sweep = |primary: Primary| async move { self.sweep(&primary, pattern).await };
        let mut layout = self.connections.layout().await?;
        let mut steady = 0;
        for round in 1..=ROUNDS {
            try_join_all(layout.primaries.iter().cloned().map(sweep)).await?;
            let after = self.connections.layout().await?;
            if after.moves_to_new() {
                break;
            }
            let is_steady = after.is_as(&layout) && after.is_whole();
            steady = if is_steady { steady + 1 } else { 0 };
            if steady > usize::from(after.moves()) {
                return Ok(());
            }
            if !is_steady && round < ROUNDS {
                // Until the nodes agree.
                tokio::time::sleep(PAUSE).await;
            }
            layout = after;
        }
        let message =
            "hash slots of the cluster are moving, and keys of theirs may have been missed";
        Err(CacheError::new(ErrorKind::Unavailable, message))
    }

    /// A cursor means nothing to another server, nor to the same one after a restart: where its
    /// connection is gone the sweep begins anew.
    async fn sweep(&self, primary: &Primary, pattern: &str) -> Result<(), CacheError> {
        let (mut at, mut sweeps) = (None, 1);
        loop {
            match scan(primary, pattern, at).await {
                Ok((next, page)) => {
                    self.unlink_page(primary, &page).await?;
                    if next.cursor == 0 {
                        return Ok(());
                    }
                    at = Some(next);
                }
                Err(error)
                    if error.kind() == ErrorKind::Unavailable
                        && at.is_some()
                        && sweeps < SWEEPS =>
                {
                    at = None;
                    sweeps += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn unlink_page(&self, primary: &Primary, page: &[Vec<u8>]) -> Result<(), CacheError> {
        // In a cluster the keys of a command must share a slot: one key each, all at once.
        let size = if self.connections.is_cluster() { 1 } else { page.len().max(1) };
        let unlink = |keys: &[Vec<u8>]| {
            let mut cmd = redis::cmd("UNLINK");
            for key in keys {
                cmd.arg(key);
            }
            async move { step::<u64>(primary, SCAN, &cmd, TRIES).await }
        };
        try_join_all(page.chunks(size).map(unlink)).await.map(drop)
    }
}

/// Where a sweep has got to.
#[derive(Clone, Copy)]
struct Place {
    cursor: u64,
    /// The connection to whoever the cursor means something to.
    over: Generation,
}

/// One page of names, and where the next one is. A step that is late is made again once the sweep is
/// under way: from the beginning it would meet the next one that is late.
async fn scan(
    primary: &Primary,
    pattern: &str,
    at: Option<Place>,
) -> Result<(Place, Vec<Vec<u8>>), CacheError> {
    let mut cmd = redis::cmd("SCAN");
    cmd.arg(at.map_or(0, |at| at.cursor)).arg("MATCH").arg(pattern).arg("COUNT").arg(SCAN_COUNT);
    let (call, tries) = match at {
        None => (SCAN, 1),
        Some(Place { over, .. }) => (Call::new(Lane::Scan).over(over), TRIES),
    };
    let ((cursor, names), over) = step(primary, call, &cmd, tries).await?;
    Ok((Place { cursor, over }, names))
}

/// A step of a sweep, tried so often while it is late.
async fn step<T: FromRedisValue + Send>(
    primary: &Primary,
    call: Call,
    cmd: &Cmd,
    tries: usize,
) -> Result<(T, Generation), CacheError> {
    let mut left = tries;
    loop {
        left -= 1;
        match primary.query_over(call, cmd).await {
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
