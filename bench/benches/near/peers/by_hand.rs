//! What people write themselves: JSON in strings, in `moka` with a TTL; with another hasher than `SipHash`, as
//! `moka` recommends for long strings.

use std::hint::black_box;

use cache_bench_kit::value::{Org, Size, TTL};
use moka::sync::Cache;
use tokio::runtime::Runtime;

use super::{CAPACITY, Hasher, Peer, Setting, Step, Writer};

pub(crate) struct ByHand {
    cache: Cache<String, String, Hasher>,
    keys: Vec<String>,
    size: Size,
}

impl ByHand {
    pub(crate) fn filled(setting: Setting<'_>) -> Self {
        let cache = Cache::builder().max_capacity(CAPACITY as u64).time_to_live(TTL);
        let cache = cache.build_with_hasher(Hasher::default());
        let filled = Self { cache, keys: setting.strings(), size: setting.size };
        (0..setting.keys).for_each(|id| filled.set(id));
        filled.cache.run_pending_tasks();
        filled
    }

    fn get(&self, id: usize) -> Option<Org> {
        let json = self.cache.get(self.keys[id].as_str())?;
        Some(serde_json::from_str(&json).unwrap())
    }

    fn set(&self, id: usize) {
        let json = serde_json::to_string(&self.size.org(id)).unwrap();
        self.cache.insert(self.keys[id].clone(), json);
    }
}

impl Peer for ByHand {
    fn hits(&self, visits: &[usize], _: &Runtime) {
        for &id in visits {
            black_box(self.get(id).expect("a hit"));
        }
    }
}

impl Writer for ByHand {
    fn run(&self, steps: &[Step], _: &Runtime) {
        for step in steps {
            match *step {
                Step::Get(id) => drop(black_box(self.get(id))),
                Step::Set(id) => self.set(id),
                Step::Remove(id) => self.cache.invalidate(self.keys[id].as_str()),
            }
        }
    }

    fn entries(&self, _: &Runtime) -> (u64, usize) {
        self.cache.run_pending_tasks();
        let held = self.keys.iter().filter(|key| self.cache.contains_key(key.as_str())).count();
        (self.cache.entry_count(), held)
    }
}
