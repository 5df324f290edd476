//! `hitbox` 0.2 with `hitbox-moka`: `CacheBackend::get` of a `MokaBackend`.
//!
//! Twice: with Bincode, which its documentation recommends for production, and with Rkyv, which it calls its
//! fastest, with the buffer that it has by default. Keys are made ready, which spares it the extractors; no
//! policy, no concurrency manager, which spares it the state machine around the backend.

use std::future::{Ready, ready};
use std::hint::black_box;

use ::hitbox::backend::CacheBackend;
use ::hitbox::predicate::PredicateResult;
use ::hitbox::{
    CacheContext, CacheKey, CachePolicy, CacheValue, CacheableResponse, EntityPolicyConfig,
    Predicate, ResponseCachePolicy,
};
use cache_bench_kit::value::Org;
use hitbox_backend::format::Format;
use hitbox_moka::MokaBackend;
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;

use super::{CAPACITY, Peer, Setting};

pub(crate) struct Hitbox<F: Format> {
    backend: MokaBackend<F>,
    keys: Vec<CacheKey>,
}

/// As it must be of this crate to be cached.
#[derive(
    Clone, Debug, Serialize, Deserialize, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize,
)]
#[serde(transparent)]
struct Cached(Org);

impl<F: Format + 'static> Hitbox<F> {
    pub(crate) fn filled(setting: Setting<'_>, format: F) -> Self {
        let builder = MokaBackend::builder().max_entries(CAPACITY as u64);
        let backend = builder.value_format(format).build();
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

impl<F: Format + 'static> Peer for Hitbox<F> {
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
