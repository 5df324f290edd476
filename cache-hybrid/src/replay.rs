//! Invalidations that did not reach the far tier or the bus, kept until they do.
//!
//! Rules:
//!
//! 1. Each key is kept once, with its last invalidation; so is each prefix. A prefix or everything
//!    stands for what it covers of what was kept before.
//! 2. There is a bound; beyond it the oldest is dropped and counted, or everything stands for them all.
//! 3. What is added while a replay is under way is replayed again: the replay may have come first. So a
//!    key is kept beside a sweep that covers it, and the sweep need not begin anew for each. It does
//!    for a prefix within its own, and for keys beyond the bound.
//! 4. Keys are apart from what has to be looked for: who waits for a key waits for no sweep.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use cache_core::Selector;
use parking_lot::Mutex;

/// Keys that are replayed with one removal.
const BATCH: usize = 512;

pub(crate) struct Replay {
    queue: Mutex<Queue>,
    /// How many are kept, to be read without the lock.
    len: AtomicUsize,
    capacity: usize,
    beyond: Beyond,
    dropped: AtomicU64,
}

/// What becomes of more than is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beyond {
    /// The oldest is dropped: to remove everything would cost more than its key does until its time is
    /// over.
    DropsOldest,
    /// Everything is kept in place of them.
    KeepsAll,
}

#[derive(Default)]
struct Queue {
    /// By age.
    kept: BTreeMap<u64, What>,
    keys: HashMap<String, u64>,
    prefixes: HashMap<String, u64>,
    all: Option<u64>,
    last: u64,
}

#[derive(Clone)]
enum What {
    Key(String),
    Prefix(String),
    All,
}

/// What is to be removed at a time, and which of the kept are done with then.
pub(crate) struct Batch {
    pub(crate) what: Selector,
    numbers: Vec<u64>,
}

/// What is replayed in one go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Keys,
    /// What has to be looked for, which may take long.
    Sweeps,
}

impl Kind {
    pub(crate) const BOTH: [Self; 2] = [Self::Keys, Self::Sweeps];
}

impl Batch {
    /// Whether it is more than one key.
    pub(crate) fn is_many(&self) -> bool {
        self.numbers.len() > 1
    }

    /// The first of its keys, and the others.
    pub(crate) fn first_apart(mut self) -> Vec<Self> {
        match &mut self.what {
            Selector::Keys(keys) if keys.len() > 1 => {
                let (others, numbers) = (keys.split_off(1), self.numbers.split_off(1));
                vec![self, Self { what: Selector::Keys(others), numbers }]
            }
            _ => vec![self],
        }
    }

    /// Each of its keys by itself.
    pub(crate) fn ones(self) -> Vec<Self> {
        let Selector::Keys(keys) = self.what else { return vec![self] };
        let one = |(key, number)| Self { what: Selector::Keys(vec![key]), numbers: vec![number] };
        keys.into_iter().zip(self.numbers).map(one).collect()
    }

    pub(crate) fn kind(&self) -> Kind {
        match self.what {
            Selector::Keys(_) => Kind::Keys,
            _ => Kind::Sweeps,
        }
    }
}

/// Whether an invalidation that is kept concerns a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owed {
    Nothing,
    /// The key itself.
    Key,
    /// What has to be looked for: its prefix, or everything.
    Sweep,
}

impl Queue {
    fn forget(&mut self, number: u64) {
        match self.kept.remove(&number) {
            Some(What::Key(key)) => drop(self.keys.remove(&key)),
            Some(What::Prefix(prefix)) => drop(self.prefixes.remove(&prefix)),
            Some(What::All) => self.all = None,
            None => {}
        }
    }

    /// Makes room at the cost of the oldest. True if that is lost: a key that a sweep covers is not, and
    /// a sweep is not as long as it covers keys that are kept beside it.
    fn drop_oldest(&mut self) -> bool {
        let Some((&oldest, what)) = self.kept.first_key_value() else { return false };
        let what = what.clone();
        let sweep = match &what {
            What::Key(key) => self.covering(key),
            What::Prefix(prefix) => self.forget_within(prefix).then_some(what),
            What::All => self.forget_within("").then_some(what),
        };
        self.forget(oldest);
        match sweep {
            Some(sweep) => self.keep(sweep),
            None => return true,
        }
        false
    }

    /// Forgets keys and longer prefixes that begin so. True if there were any.
    fn forget_within(&mut self, prefix: &str) -> bool {
        let before = self.kept.len();
        self.kept.retain(|_, what| match what {
            What::Key(inner) => !inner.starts_with(prefix),
            What::Prefix(inner) => inner == prefix || !inner.starts_with(prefix),
            What::All => true,
        });
        self.keys.retain(|key, _| !key.starts_with(prefix));
        self.prefixes.retain(|inner, _| inner == prefix || !inner.starts_with(prefix));
        self.kept.len() < before
    }

    /// Keeps it as the youngest.
    fn keep(&mut self, what: What) {
        self.last += 1;
        let before = match &what {
            What::Key(key) => self.keys.insert(key.clone(), self.last),
            What::Prefix(prefix) => self.prefixes.insert(prefix.clone(), self.last),
            What::All => self.all.replace(self.last),
        };
        if let Some(before) = before {
            self.kept.remove(&before);
        }
        self.kept.insert(self.last, what);
    }

    /// What covers keys that begin so: that prefix or a shorter one, or everything.
    fn covering(&self, start: &str) -> Option<What> {
        if self.all.is_some() {
            return Some(What::All);
        }
        if self.prefixes.is_empty() {
            return None;
        }
        let mut prefixes = (0..=start.len()).filter_map(|end| start.get(..end));
        let prefix = prefixes.find(|prefix| self.prefixes.contains_key(*prefix))?;
        Some(What::Prefix(prefix.to_owned()))
    }

    fn add(&mut self, what: &Selector, capacity: usize) {
        match what {
            Selector::Keys(keys) => {
                for key in keys {
                    let is_full = self.kept.len() >= capacity && !self.keys.contains_key(key);
                    let sweep = if is_full { self.covering(key) } else { None };
                    self.keep(sweep.unwrap_or_else(|| What::Key(key.clone())));
                }
            }
            Selector::Prefix(prefix) => {
                if let Some(covering) = self.covering(prefix) {
                    return self.keep(covering);
                }
                self.forget_within(prefix);
                self.keep(What::Prefix(prefix.clone()));
            }
            // Also what is not known yet: too much is removed rather than too little.
            _ => {
                self.kept.clear();
                self.keys.clear();
                self.prefixes.clear();
                self.keep(What::All);
            }
        }
    }
}

impl Queue {
    fn has_sweeps(&self) -> bool {
        self.all.is_some() || !self.prefixes.is_empty()
    }

    /// In the order of their age.
    fn batches(&self, kind: Kind) -> Vec<Batch> {
        let (mut sweeps, mut keys) = (Vec::new(), Vec::new());
        for (number, what) in &self.kept {
            let what = match what {
                What::Key(key) => {
                    keys.push((*number, key));
                    continue;
                }
                What::Prefix(prefix) => Selector::Prefix(prefix.clone()),
                What::All => Selector::All,
            };
            sweeps.push(Batch { what, numbers: vec![*number] });
        }
        let together = |keys: &[(u64, &String)]| {
            let (numbers, keys) = keys.iter().map(|(number, key)| (number, (*key).clone())).unzip();
            Batch { what: Selector::Keys(keys), numbers }
        };
        match kind {
            Kind::Keys => keys.chunks(BATCH).map(together).collect(),
            Kind::Sweeps => sweeps,
        }
    }
}

impl Replay {
    pub(crate) fn new(capacity: usize, beyond: Beyond) -> Self {
        let (queue, len) = (Mutex::default(), AtomicUsize::new(0));
        Self { queue, len, capacity: capacity.max(1), beyond, dropped: AtomicU64::new(0) }
    }

    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, what: &Selector) {
        let mut queue = self.queue.lock();
        queue.add(what, self.capacity);
        while queue.kept.len() > self.capacity {
            if !queue.drop_oldest() {
                continue;
            }
            if self.beyond == Beyond::KeepsAll {
                queue.add(&Selector::All, self.capacity);
            } else if self.dropped.fetch_add(1, Ordering::Relaxed) == 0 {
                tracing::warn!(
                    capacity = self.capacity,
                    "more invalidations fail than are kept for later: the oldest are dropped"
                );
            }
        }
        self.len.store(queue.kept.len(), Ordering::Release);
    }

    /// What is kept that concerns one of the keys. Nearly always nothing is kept at all.
    #[inline]
    pub(crate) fn owed<'k>(&self, keys: impl IntoIterator<Item = &'k str>) -> Owed {
        if self.len() == 0 { Owed::Nothing } else { self.owed_of_some(keys) }
    }

    /// Parts what is about keys by what is owed of them, so that none waits for what is owed of another.
    /// No part is empty, unless there is nothing at all.
    pub(crate) fn parts<T>(&self, items: Vec<T>, key: impl Fn(&T) -> &str) -> Vec<(Owed, Vec<T>)> {
        if self.len() == 0 {
            return vec![(Owed::Nothing, items)];
        }
        let mut parts = [Owed::Nothing, Owed::Key, Owed::Sweep].map(|owed| (owed, Vec::new()));
        for item in items {
            parts[self.owed([key(&item)]) as usize].1.push(item);
        }
        parts.into_iter().filter(|(_, part)| !part.is_empty()).collect()
    }

    #[cold]
    fn owed_of_some<'k>(&self, keys: impl IntoIterator<Item = &'k str>) -> Owed {
        let queue = self.queue.lock();
        let mut owed = Owed::Nothing;
        for key in keys {
            if queue.covering(key).is_some() {
                return Owed::Sweep;
            }
            if queue.keys.contains_key(key) {
                owed = Owed::Key;
            }
        }
        owed
    }

    /// What is to be replayed of a kind, whichever keys it concerns.
    pub(crate) fn owed_of(&self, kind: Kind) -> Owed {
        let queue = self.queue.lock();
        match kind {
            Kind::Keys if !queue.keys.is_empty() => Owed::Key,
            Kind::Sweeps if queue.has_sweeps() => Owed::Sweep,
            Kind::Keys | Kind::Sweeps => Owed::Nothing,
        }
    }

    /// All that is to be replayed.
    pub(crate) fn batches(&self) -> Vec<Batch> {
        let queue = self.queue.lock();
        [queue.batches(Kind::Keys), queue.batches(Kind::Sweeps)].into_iter().flatten().collect()
    }

    /// What of a kind is to be replayed.
    pub(crate) fn batches_of(&self, kind: Kind) -> Vec<Batch> {
        self.queue.lock().batches(kind)
    }

    /// It has been replayed; what was added again meanwhile has another number and stays.
    pub(crate) fn done(&self, batch: &Batch) {
        let mut queue = self.queue.lock();
        batch.numbers.iter().for_each(|number| queue.forget(*number));
        self.len.store(queue.kept.len(), Ordering::Release);
    }

    /// It has failed: others are tried before it.
    pub(crate) fn postpone(&self, batch: &Batch) {
        let mut queue = self.queue.lock();
        for number in &batch.numbers {
            if let Some(what) = queue.kept.get(number).cloned() {
                queue.keep(what);
            }
        }
    }

    /// It is refused, whenever it is tried.
    pub(crate) fn give_up(&self, batch: &Batch) {
        self.done(batch);
        self.dropped.fetch_add(batch.numbers.len() as u64, Ordering::Relaxed);
    }
}

#[cfg(test)]
#[path = "replay_tests.rs"]
mod tests;
