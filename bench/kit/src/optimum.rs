//! The best that any cache can do: Bélády's algorithm, which knows what comes.

use std::collections::{BTreeSet, HashMap};

/// How many of `accesses` a cache for `capacity` entries can answer at most, when each that it does
/// not answer is stored or left out as is best.
#[must_use]
pub fn optimum(accesses: &[u32], capacity: usize) -> usize {
    let next = next_accesses(accesses);
    // The keys that are held, by when each is next asked for; those after all others go first.
    let mut held: BTreeSet<(usize, u32)> = BTreeSet::new();
    let mut hits = 0;
    for (at, &key) in accesses.iter().enumerate() {
        // One that is held is held for this access.
        hits += usize::from(held.remove(&(at, key)));
        if next[at] < accesses.len() {
            held.insert((next[at], key));
        }
        if held.len() > capacity {
            held.pop_last();
        }
    }
    hits
}

/// For each access, where its key is accessed again; past the end if it is not.
fn next_accesses(accesses: &[u32]) -> Vec<usize> {
    let (mut next, mut seen) = (vec![accesses.len(); accesses.len()], HashMap::new());
    for (at, &key) in accesses.iter().enumerate().rev() {
        if let Some(later) = seen.insert(key, at) {
            next[at] = later;
        }
    }
    next
}
