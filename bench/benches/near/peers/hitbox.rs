//! `hitbox` 0.2 with `hitbox-moka`: `CacheBackend::get` of a `MokaBackend`.
//!
//! Bincode, as its documentation recommends for speed. Keys are made ready, which spares it the
//! extractors; no policy, no concurrency manager, which spares it the state machine around the backend.

use std::future::{Ready, ready};
use std::hint::black_box;

use ::hitbox::backend::CacheBackend;
use ::hitbox::predicate::PredicateResult;
use ::hitbox::{
    CacheContext, CacheKey, CachePolicy, CacheValue, CacheableResponse, EntityPolicyConfig,
    Predicate, ResponseCachePolicy,
};
use cache_bench_kit::value::Org;
use hitbox_backend::format::BincodeFormat;
use hitbox_moka::MokaBackend;
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;

use super::{CAPACITY, Peer, Setting};

pub(crate) struct Hitbox {
    backend: MokaBackend<BincodeFormat>,
    keys: Vec<CacheKey>,
}

/// As it must be of this crate to be cached.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
struct Cached(Org);

impl Hitbox {
    pub(crate) fn filled(setting: Setting<'_>) -> Self {
        let builder = MokaBackend::builder().max_entries(CAPACITY as u64);
        let backend = builder.value_format(BincodeFormat).build();
        let keys = setting.strings();
        let keys: Vec<_> = keys.iter().map(|key| CacheKey::from_str("org", key)).collect();
        setting.runtime.block_on(async {
            for (id, key) in keys.iter().enumerate() {
                let value = CacheValue::new(Cached(setting.size.org(id)), None, None);
                let mut context = CacheContext::default().boxed();
                backend.set::<Cached>(key, &value, &mut context).await.unwrap();
            }
        });
        Self { backend, keys }
    }
}

impl Peer for Hitbox {
    fn hits(&self, visits: &[usize], runtime: &Runtime) {
        runtime.block_on(async {
            for &id in visits {
                let mut context = CacheContext::default().boxed();
                let found = self.backend.get::<Cached>(&self.keys[id], &mut context).await.unwrap();
                black_box(found.expect("a hit").into_inner());
            }
        });
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
