//! Ways to keep values in the memory of a process, each as its own documentation has it, at its best
//! setting. Keys are made ready before, in whatever form the cache takes.

pub(crate) mod by_hand;
pub(crate) mod cached_macro;
pub(crate) mod cached_store;
pub(crate) mod cachet;
pub(crate) mod foyer;
pub(crate) mod hitbox;
pub(crate) mod mini_moka;
pub(crate) mod moka;
pub(crate) mod moka_future;
pub(crate) mod multi_tier_cache;
pub(crate) mod ours;
pub(crate) mod quick_cache;

use std::cell::OnceCell;
use std::sync::Arc;

use cache_bench_kit::value::{Size, key};
use hitbox_backend::format::{BincodeFormat, RkyvFormat};
use tokio::runtime::Runtime;

use self::ours::Ours;

/// What everybody gets who lets one choose, as their documentation recommends for speed: foldhash's `fast`,
/// which cachet has by itself. Ours has `quality`, one multiplication more; quick_cache and cached keep
/// ahash, theirs by default or by the feature that they recommend.
pub(crate) type Hasher = foldhash::fast::RandomState;

/// Entries that each may hold: twice as many as there are keys at most.
pub(crate) const CAPACITY: usize = 20_000;

/// What a cache is made for.
#[derive(Clone, Copy)]
pub(crate) struct Setting<'a> {
    pub(crate) keys: usize,
    pub(crate) size: Size,
    pub(crate) runtime: &'a Runtime,
    /// Of a Redis, for those that do not do without.
    pub(crate) url: &'a str,
    /// The hybrid, once it is made. Those that ask it in two ways ask one: what differs is the way then,
    /// and not where the values lie in memory.
    pub(crate) hybrid: &'a OnceCell<Arc<Ours>>,
}

impl Setting<'_> {
    pub(crate) fn strings(self) -> Vec<String> {
        (0..self.keys).map(key).collect()
    }
}

/// A cache that holds a value for each key.
pub(crate) trait Peer: Send + Sync {
    /// Asks for each of `visits`, the numbers of keys. All are found.
    fn hits(&self, visits: &[usize], runtime: &Runtime);
}

/// Something that is done with the key of a number.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// Found or not.
    Get(usize),
    Set(usize),
    Remove(usize),
}

/// A cache that is written to.
pub(crate) trait Writer: Send + Sync {
    fn run(&self, steps: &[Step], runtime: &Runtime);
    /// How many entries it says it holds, and how many of the keys it really has.
    fn entries(&self, runtime: &Runtime) -> (u64, usize);
}

pub(crate) type Named<P> = (&'static str, Box<P>);

type Make = fn(Setting<'_>) -> Box<dyn Peer>;

/// All, by name. The first is what others are compared with.
pub(crate) const PEERS: [(&str, Make); 22] = [
    ("raw quick_cache", |setting| Box::new(quick_cache::QuickCache::filled(setting))),
    ("get_arc, hybrid", |setting| Box::new(ours::GetArc(Ours::hybrid(setting)))),
    ("get_or_load, hybrid", |setting| Box::new(ours::GetOrLoad(Ours::hybrid(setting)))),
    ("get, hybrid", |setting| Box::new(ours::Get(Ours::hybrid(setting)))),
    ("get_arc, quick", |setting| Box::new(ours::GetArc(Ours::quick(setting)))),
    ("get_arc, mini-moka", |setting| Box::new(ours::GetArc(Ours::mini_moka(setting)))),
    ("raw moka, sync", |setting| Box::new(moka::Moka::filled(setting))),
    ("raw moka, future", |setting| Box::new(moka_future::MokaFuture::filled(setting))),
    ("raw mini-moka", |setting| Box::new(mini_moka::MiniMoka::filled(setting))),
    ("raw foyer, S3-FIFO", |setting| Box::new(foyer::Foyer::filled(setting))),
    ("cached without TTL, ShardedUnboundCache", cached_store::unbound),
    ("cached, ShardedTtlCache", cached_store::ttl),
    ("cached without TTL, ShardedLruCache", cached_store::lru),
    ("cached, ShardedLruTtlCache", cached_store::lru_ttl),
    ("cached, ShardedExpiringCache", cached_store::expiring),
    ("cached, ShardedExpiringLruCache", cached_store::expiring_lru),
    ("cached, concurrent_cached macro", |setting| {
        Box::new(cached_macro::CachedMacro::filled(setting))
    }),
    ("cachet", |setting| Box::new(cachet::Cachet::filled(setting))),
    ("hitbox, Bincode", |setting| Box::new(hitbox::Hitbox::filled(setting, BincodeFormat))),
    ("hitbox, Rkyv", |setting| Box::new(hitbox::Hitbox::filled(setting, RkyvFormat::new()))),
    ("multi-tier-cache", |setting| Box::new(multi_tier_cache::MultiTierCache::filled(setting))),
    ("moka and JSON by hand", |setting| Box::new(by_hand::ByHand::filled(setting))),
];

type MakeWriter = fn(Setting<'_>) -> Box<dyn Writer>;

/// Those that are written to, too.
pub(crate) const WRITERS: [(&str, MakeWriter); 8] = [
    ("raw quick_cache", |setting| Box::new(quick_cache::QuickCache::filled(setting))),
    ("ours, quick", |setting| Box::new(ours::GetArc(Ours::quick(setting)))),
    ("ours, mini-moka", |setting| Box::new(ours::GetArc(Ours::mini_moka(setting)))),
    ("raw moka, sync", |setting| Box::new(moka::Moka::filled(setting))),
    ("raw mini-moka", |setting| Box::new(mini_moka::MiniMoka::filled(setting))),
    ("raw foyer, S3-FIFO", |setting| Box::new(foyer::Foyer::filled(setting))),
    ("cachet", |setting| Box::new(cachet::Cachet::filled(setting))),
    ("moka and JSON by hand", |setting| Box::new(by_hand::ByHand::filled(setting))),
];
