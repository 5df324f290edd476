//! `hitbox` 0.2 with `hitbox-redis`: `CacheBackend::get` of a `RedisBackend`.
//!
//! Its own choices: a connection manager, a hash per key, a pipeline of HMGET and PTTL. Rkyv,
//! which it calls its fastest, in place of Bincode. Entries have no expiry, which spares it a look at the
//! clock; keys are made ready, which spares it the extractors.

use std::future::{Ready, ready};

use ::hitbox::backend::CacheBackend;
use ::hitbox::predicate::PredicateResult;
use ::hitbox::{
    CacheContext, CacheKey, CachePolicy, CacheValue, CacheableResponse, EntityPolicyConfig,
    Predicate, ResponseCachePolicy,
};
use cache_bench_kit::value::{Org, Size, key};
use hitbox_backend::format::RkyvFormat;
use hitbox_redis::{ConnectionMode, RedisBackend};
use serde::{Deserialize, Serialize};

use crate::KEYS;
use crate::reads::Reads;

pub(crate) struct Hitbox {
    backend: RedisBackend<RkyvFormat>,
    keys: Vec<CacheKey>,
}

/// As it must be of this crate to be cached.
#[derive(
    Clone, Debug, Serialize, Deserialize, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize,
)]
#[serde(transparent)]
struct Cached(Org);

impl Hitbox {
    pub(crate) async fn filled(url: &str, size: Size) -> Self {
        let mode = ConnectionMode::single(url);
        let builder = RedisBackend::builder().connection(mode);
        let backend = builder.value_format(RkyvFormat::new()).build().unwrap();
        let keys: Vec<_> = (0..KEYS).map(|id| CacheKey::from_str("org", &key(id))).collect();
        for (id, key) in keys.iter().enumerate() {
            let value = CacheValue::new(Cached(size.org(id)), None, None);
            let mut context = CacheContext::default().boxed();
            backend.set::<Cached>(key, &value, &mut context).await.unwrap();
        }
        Self { backend, keys }
    }
}

impl Reads for Hitbox {
    async fn read(&self, id: usize) -> Org {
        let mut context = CacheContext::default().boxed();
        let found = self.backend.get::<Cached>(&self.keys[id], &mut context).await.unwrap();
        found.expect("a hit").into_inner().0
    }
}

/// As `hitbox-core` has it for its scalars. A read asks for none of it.
impl CacheableResponse for Cached {
    type Cached = Self;
    type Subject = Self;
    type IntoCachedFuture = Ready<CachePolicy<Self, Self>>;
    type FromCachedFuture = Ready<Self>;

    async fn cache_policy<P>(
        self,
        predicates: P,
        _: &EntityPolicyConfig,
    ) -> ResponseCachePolicy<Self>
    where
        P: Predicate<Subject = Self::Subject> + Send + Sync,
    {
        match predicates.check(self).await {
            PredicateResult::Cacheable(org) => {
                CachePolicy::Cacheable(CacheValue::new(org, None, None))
            }
            PredicateResult::NonCacheable(org) => CachePolicy::NonCacheable(org),
        }
    }

    fn into_cached(self) -> Self::IntoCachedFuture {
        ready(CachePolicy::Cacheable(self))
    }

    fn from_cached(cached: Self) -> Self::FromCachedFuture {
        ready(cached)
    }
}
