//! Which loads are under way: a registry of flights by key.
//!
//! Invariants, checked by `tests/model`:
//!
//! 1. Per key at most one flight can be joined.
//! 2. A flight that was detached, or has landed, is never joined afterwards.
//! 3. Landing an old flight never takes a newer one of the same key away.
//! 4. With no load under way the registry is empty, and as small as if there never had been many.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::quality::RandomState;

use crate::sync::Mutex;

/// A power of two: more than the threads that miss at the same moment.
const SHARDS: usize = 64;
/// How much room an empty shard keeps. A call for a million keys needs more, once.
const ROOM: usize = 256;

/// One load under way, told from every other by its id.
pub(crate) trait Flight: Clone {
    fn id(&self) -> u64;
}

/// How a caller got on a flight.
pub(crate) enum Boarding<F> {
    /// It is the first: it starts the load.
    Led(Arc<str>, F),
    /// The load was under way.
    Joined(F),
}

type Shard<F> = HashMap<Arc<str>, F, RandomState>;

pub(crate) struct Flights<F> {
    shards: Box<[Mutex<Shard<F>>]>,
    hasher: RandomState,
}

impl<F: Flight> Flights<F> {
    pub(crate) fn new() -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::new(Shard::default())).collect();
        Self { shards, hasher: RandomState::default() }
    }

    fn shard(&self, key: &str) -> &Mutex<Shard<F>> {
        &self.shards[self.hasher.hash_one(key) as usize % SHARDS]
    }

    /// Joins the flight for `key`, or leads a new one made by `make`.
    pub(crate) fn board(&self, key: &str, make: impl FnOnce() -> F) -> Boarding<F> {
        let mut shard = self.shard(key).lock();
        match shard.get(key) {
            Some(flight) => Boarding::Joined(flight.clone()),
            None => {
                let (key, flight) = (Arc::<str>::from(key), make());
                shard.insert(Arc::clone(&key), flight.clone());
                Boarding::Led(key, flight)
            }
        }
    }

    /// Ends the flight with this id; a newer one of the same key stays.
    pub(crate) fn land(&self, key: &str, id: u64) {
        let mut shard = self.shard(key).lock();
        if shard.get(key).is_some_and(|flight| flight.id() == id) {
            shard.remove(key);
            shrink(&mut shard);
        }
    }

    /// Lets nobody join the flight for `key` any more.
    pub(crate) fn detach(&self, key: &str) {
        let mut shard = self.shard(key).lock();
        let detached = shard.remove(key);
        shrink(&mut shard);
        drop((shard, detached));
    }

    /// Lets nobody join the flights whose key is `selected` any more.
    pub(crate) fn detach_where(&self, selected: impl Fn(&str) -> bool) {
        for shard in &self.shards {
            let mut shard = shard.lock();
            shard.retain(|key, _| !selected(key));
            shrink(&mut shard);
        }
    }

    /// For how many there is room.
    #[cfg(test)]
    pub(crate) fn room(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().capacity()).sum()
    }

    /// How many flights can be joined.
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }
}

/// Gives back what a shard needed when it was full.
fn shrink<F>(shard: &mut Shard<F>) {
    if shard.is_empty() && shard.capacity() > 2 * ROOM {
        shard.shrink_to(ROOM);
    }
}
