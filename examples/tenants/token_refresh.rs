//! Demonstration: many tasks find a token expired, one of them refreshes it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use cache_services::{
    CacheError, CacheService, CacheServiceExt, ConcurrencyService, ConcurrencyServiceExt, Policy,
};
use serde::{Deserialize, Serialize};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::AnyError;
use crate::fleet::Fleet;

const TASKS: usize = 50;
const ROUNDS: u64 = 20;

/// Cache entries and locks do not share their keys: one name may serve for both.
const KEY: &str = "token:mail-provider";
/// Longer than a token is good for: the token knows itself when it expires.
const KEPT_FOR: Duration = Duration::from_secs(7_200);

pub(crate) async fn demonstrate(fleet: &Fleet) -> Result<(), AnyError> {
    println!(
        "\n{TASKS} tasks that find a token expired refresh it exactly once under `with_lock`:"
    );
    let provider = Arc::new(Provider::default());
    let policy = policy(fleet.len());
    let services = fleet.services(0);
    for round in 1..=ROUNDS {
        services.cache().set(KEY, &Token::expired(), policy.clone()).await?;
        if !services.cache().contains(KEY).await? {
            return Err("the cache is set up to keep nothing, so no token can be shared".into());
        }

        let all_have_looked = Arc::new(Barrier::new(TASKS));
        let mut tasks = JoinSet::new();
        for nth in 0..TASKS {
            let services = fleet.services(nth);
            let (cache, locks) = (services.cache(), services.concurrency());
            let policy = policy.clone();
            let (provider, barrier) = (Arc::clone(&provider), Arc::clone(&all_have_looked));
            tasks.spawn(async move {
                let token = cache.get_arc::<Token>(KEY).await?;
                // Nobody goes on before all have seen the old token: the worst case, every time.
                barrier.wait().await;
                match token {
                    Some(token) if token.is_good() => Err("a task found a good token".into()),
                    _ => refresh(&*cache, &*locks, &provider, policy).await,
                }
            });
        }
        let expected = format!("token {round}");
        while let Some(token) = tasks.join_next().await {
            let token = token??;
            if token.secret != expected || !token.is_good() {
                return Err(format!("a task has {token:?} where {expected:?} was due").into());
            }
        }
        let refreshes = provider.refreshes.load(Ordering::Relaxed);
        if refreshes != round {
            return Err(format!("{refreshes} refreshes in {round} rounds").into());
        }
    }
    println!(
        "  {ROUNDS} rounds, {ROUNDS} refreshes; all {TASKS} tasks of a round had its new token.\n"
    );
    Ok(())
}

/// With several instances none holds the token itself: the double check has to see what another
/// instance stored just before it gave the lock back, and the bus may tell of that a little later.
fn policy(instances: usize) -> Policy {
    match instances {
        1 => Policy::ttl(KEPT_FOR),
        _ => Policy::ttl(KEPT_FOR).local_ttl(Duration::ZERO),
    }
}

/// A good token: refreshed by whoever gets the lock first, found refreshed by the others.
async fn refresh(
    cache: &dyn CacheService,
    locks: &dyn ConcurrencyService,
    provider: &Provider,
    policy: Policy,
) -> Result<Arc<Token>, AnyError> {
    let refreshed = locks.with_lock(KEY, async {
        // The double check: who had the lock before may have done it.
        if let Some(token) = cache.get_arc::<Token>(KEY).await?
            && token.is_good()
        {
            return Ok(token);
        }
        let token = provider.new_token().await;
        cache.set(KEY, &token, policy).await?;
        Ok::<_, CacheError>(Arc::new(token))
    });
    Ok(refreshed.await??)
}

/// Whoever hands out tokens, and does not like to be asked twice.
#[derive(Debug, Default)]
struct Provider {
    refreshes: AtomicU64,
}

impl Provider {
    async fn new_token(&self) -> Token {
        let number = self.refreshes.fetch_add(1, Ordering::Relaxed) + 1;
        // What asking another service takes.
        tokio::time::sleep(Duration::from_millis(5)).await;
        Token {
            secret: format!("token {number}"),
            expires_at: SystemTime::now() + Duration::from_secs(3_600),
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Token {
    secret: String,
    expires_at: SystemTime,
}

impl Token {
    fn expired() -> Self {
        Self { secret: "an old token".to_owned(), expires_at: SystemTime::UNIX_EPOCH }
    }

    fn is_good(&self) -> bool {
        SystemTime::now() < self.expires_at
    }
}
