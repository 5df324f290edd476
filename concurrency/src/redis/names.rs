//! Where a lock stands in Redis, and what stands there.
//!
//! Rules:
//! 1. The keys of one lock share a hash tag: a cluster keeps them in one slot.
//! 2. They hold no colon. A cache's key is `<namespace>:<key>` and its SCAN pattern
//!    `<namespace>:*`, so neither can name a lock, whatever the namespaces are.
//! 3. Different locks have different keys: what is replaced can be told from what was there.

use std::fmt::Write;

use uuid::Uuid;

/// The length of a token's random part.
const RANDOM: usize = 36;

/// The two keys of a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Names {
    /// The holder's token; there exactly while the lock is held.
    pub(crate) lock: String,
    /// The last fencing token.
    pub(crate) fence: String,
}

/// The locks of one namespace.
#[derive(Clone, Debug)]
pub(crate) struct Namespace(String);

impl Namespace {
    pub(crate) fn new(name: &str) -> Self {
        let mut prefix = String::from("{lock/");
        escape(name, &['%', ':', '/'], &mut prefix);
        prefix.push('/');
        Self(prefix)
    }

    pub(crate) fn names(&self, key: &str) -> Names {
        let mut lock = self.0.clone();
        escape(key, &['%', ':'], &mut lock);
        let fence = format!("{lock}}}.f");
        lock.push_str("}.l");
        Names { lock, fence }
    }
}

/// Appends `text`, with these characters by their codes.
fn escape(text: &str, special: &[char], to: &mut String) {
    for character in text.chars() {
        if special.contains(&character) {
            // A string takes it.
            let _ = write!(to, "%{:02X}", u32::from(character));
        } else {
            to.push(character);
        }
    }
}

/// A token that no other grant has or will have, with a `label` for people.
pub(crate) fn token(label: &str) -> String {
    format!("{}@{label}", Uuid::new_v4())
}

/// The label in a token.
pub(crate) fn label(token: &[u8]) -> String {
    match token.get(RANDOM..) {
        Some([b'@', label @ ..]) => String::from_utf8_lossy(label).into_owned(),
        _ => "a holder that is none of ours".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cache_key_and_no_pattern_of_a_cache_matches_a_lock() {
        let keys = ["user:7", ":", "a%3Ab", "a:b", "x}.l", "", "}", "{", "a/b", "/"];
        let namespaces = ["cache", "shop:eu", ":", "{lock/cache/a", "%", "a/b", "a"];
        let mut seen = std::collections::HashSet::new();
        for namespace in namespaces {
            for key in keys {
                let Names { lock, fence } = Namespace::new(namespace).names(key);
                assert!(!lock.contains(':') && !fence.contains(':'), "{lock}");
                assert_eq!(cache_redis::slot(&lock), cache_redis::slot(&fence));
                assert!(seen.insert(lock) && seen.insert(fence));
            }
        }
    }

    #[test]
    fn a_token_shows_its_label() {
        assert_eq!(label(token("pid 7 · task 2").as_bytes()), "pid 7 · task 2");
        assert_eq!(label(b"somebody"), "a holder that is none of ours");
        assert_ne!(token("a"), token("a"));
    }
}
