//! The keys of the map, and the ways to find one.

use std::hash::{BuildHasher, Hash, Hasher};

use cache_core::memory::{Address, KeyHash};
use quick_cache::Equivalent;
use smol_str::SmolStr;

/// Hashes as the store does.
#[derive(Clone)]
pub(crate) struct Hashes(pub(crate) KeyHash);

impl BuildHasher for Hashes {
    type Hasher = KeyHasher;

    #[inline]
    fn build_hasher(&self) -> KeyHasher {
        KeyHasher { key_hash: self.0.clone(), hash: 0 }
    }
}

/// Hashes one key, or takes its hash as it is.
pub(crate) struct KeyHasher {
    key_hash: KeyHash,
    hash: u64,
}

impl Hasher for KeyHasher {
    #[inline]
    fn finish(&self) -> u64 {
        self.hash
    }

    #[inline]
    fn write(&mut self, key: &[u8]) {
        self.hash = self.key_hash.of(key);
    }

    #[inline]
    fn write_u64(&mut self, hash: u64) {
        self.hash = hash;
    }
}

/// A key that is held. Its hash is not kept with it: who looks for a key has it, and it is made anew
/// where an entry comes or goes.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Key(pub(crate) SmolStr);

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.0.as_bytes());
    }
}

/// Finds a key without owning one.
pub(crate) struct Probe<'a>(pub(crate) Address<'a>);

impl Hash for Probe<'_> {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0.hash);
    }
}

impl Equivalent<Key> for Probe<'_> {
    #[inline]
    fn equivalent(&self, key: &Key) -> bool {
        self.0.key == key.0.as_str()
    }
}

/// [`Probe`] for what every hit goes through: a type of its own has a lookup of its own, into which
/// everything is inlined.
pub(crate) struct Glimpse<'a>(pub(crate) Address<'a>);

impl Hash for Glimpse<'_> {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0.hash);
    }
}

impl Equivalent<Key> for Glimpse<'_> {
    #[inline]
    fn equivalent(&self, key: &Key) -> bool {
        are_equal(self.0.key.as_bytes(), key.0.as_bytes())
    }
}

/// Whether they are the same: without a call for keys of 8 to 24 bytes, which most are. Around a call
/// registers are saved, which costs more than the comparison.
#[inline(always)]
fn are_equal(one: &[u8], other: &[u8]) -> bool {
    fn word(bytes: &[u8], at: usize) -> Option<u64> {
        bytes.get(at..)?.first_chunk().copied().map(u64::from_ne_bytes)
    }
    if one.len() != other.len() {
        return false;
    }
    if !(8..=24).contains(&one.len()) {
        return one == other;
    }
    let last = one.len() - 8;
    // These overlap, or are one.
    [0, last.min(8), last].into_iter().all(|at| word(one, at) == word(other, at))
}

/// Finds a key by its hash alone, for the sweep, which checks what it finds.
pub(crate) struct ByHash<'a>(pub(crate) u64, pub(crate) &'a KeyHash);

impl Hash for ByHash<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0);
    }
}

impl Equivalent<Key> for ByHash<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.0 == self.1.of(key.0.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_equal_as_strings_are() {
        let text: Vec<u8> = (0..40).collect();
        for length in 0..text.len() {
            let one = &text[..length];
            assert!(are_equal(one, &text.clone()[..length]));
            assert!(!are_equal(one, &text[..length + 1]) && !are_equal(&text[..length + 1], one));
            for at in 0..length {
                let mut other = one.to_vec();
                other[at] ^= 0x20;
                assert!(!are_equal(one, &other), "byte {at} of {length}");
            }
        }
    }
}
