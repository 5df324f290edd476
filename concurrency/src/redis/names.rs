//! Where a lock stands in Redis, and what stands there.
//!
//! Rules:
//! 1. The keys of one lock share a hash tag: a cluster keeps them in one slot.
//! 2. They hold no colon. A cache's key is `<namespace>:<key>` and its SCAN pattern
//!    `<namespace>:*`, so neither can name a lock, whatever the namespaces are.
//! 3. Different locks have different keys: what is replaced can be told from what was there.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use cache_core::check_lock_key;
use uuid::Uuid;

/// The length of the name of a process, with which its tokens begin; `common.lua` has it too.
const PROCESS: usize = 36;

/// The keys of a lock.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Names {
    /// The holder's token; there exactly while the lock is held.
    pub(crate) lock: String,
    /// The last fencing token.
    pub(crate) fence: String,
    /// The tokens of those who wait, in the order of arrival; there while somebody waits.
    pub(crate) queue: String,
    /// What is known of those who wait.
    pub(crate) waiters: String,
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
        let mut base = self.0.clone();
        escape(key, &['%', ':'], &mut base);
        let [lock, fence, queue, waiters] = ["l", "f", "q", "w"].map(|of| format!("{base}}}.{of}"));
        Names { lock, fence, queue, waiters }
    }

    /// What the names of the channels begin with, on which processes hear of hand-overs.
    pub(crate) fn channels(&self) -> &str {
        // Without the brace: a channel has no slot.
        self.0.trim_start_matches('{')
    }

    /// A glob pattern that the key of every lock that is held matches.
    pub(crate) fn held(&self) -> String {
        let mut pattern = String::new();
        for character in self.0.chars() {
            if matches!(character, '*' | '?' | '[' | ']' | '\\' | '^') {
                pattern.push('\\');
            }
            pattern.push(character);
        }
        pattern + "*}.l"
    }

    /// The key of the lock that is held under this name; `None` if no name of ours is like that.
    pub(crate) fn key(&self, lock: &str) -> Option<String> {
        let escaped = lock.strip_prefix(&self.0)?.strip_suffix("}.l")?;
        let mut parts = escaped.split('%');
        let mut key = parts.next()?.to_owned();
        for part in parts {
            let code = part.get(..2).and_then(|code| u8::from_str_radix(code, 16).ok())?;
            key.push(char::from(code));
            key.push_str(&part[2..]);
        }
        Some(key)
    }

    /// The same of a name that anybody may have written: `None` also where no lock can have that key, or
    /// its lock stands under another name.
    pub(crate) fn lock_of(&self, name: &str) -> Option<String> {
        let key = self.key(name)?;
        (check_lock_key(&key).is_ok() && self.names(&key).lock == name).then_some(key)
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

/// What makes the tokens of one service, and no other's like them.
#[derive(Debug)]
pub(crate) struct Tokens {
    /// The name of this process, or of one service in it, to others: drawn at random.
    pub(crate) process: String,
    last: AtomicU64,
}

impl Tokens {
    pub(crate) fn new() -> Self {
        Self { process: Uuid::new_v4().to_string(), last: AtomicU64::new(0) }
    }

    /// A token that no other grant has or will have, with a `label` for people.
    pub(crate) fn next(&self, label: &str) -> String {
        format!("{}.{}@{label}", self.process, self.last.fetch_add(1, Relaxed))
    }
}

/// The label in a token.
pub(crate) fn label(token: &[u8]) -> String {
    let stranger = || "a holder that is none of ours".to_owned();
    let Some([b'.', rest @ ..]) = token.get(PROCESS..) else { return stranger() };
    let Some(at) = rest.iter().position(|byte| *byte == b'@') else { return stranger() };
    String::from_utf8_lossy(&rest[at + 1..]).into_owned()
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
                let space = Namespace::new(namespace);
                let Names { lock, fence, queue, waiters } = space.names(key);
                assert_eq!(space.key(&lock).as_deref(), Some(key));
                let slot = cache_redis::slot(&lock);
                for name in [lock, fence, queue, waiters] {
                    assert!(!name.contains(':'), "{name}");
                    assert_eq!(cache_redis::slot(&name), slot);
                    assert!(seen.insert(name));
                }
            }
        }
    }

    #[test]
    fn names_that_are_none_of_ours_have_no_key() {
        let space = Namespace::new("a");
        for name in ["", "x", "{lock/b/k}.l", "{lock/a/k}.f", "{lock/a/%}.l", "{lock/a/%é}.l"] {
            assert_eq!(space.key(name), None, "{name}");
        }
        assert_eq!(Namespace::new("*[x]").held(), r"{lock/\*\[x\]/*}.l");
    }

    #[test]
    fn a_token_shows_its_label() {
        let tokens = Tokens::new();
        let token = tokens.next("pid 7 · task 2");
        assert_eq!(label(token.as_bytes()), "pid 7 · task 2");
        assert!(token.starts_with(&tokens.process) && tokens.process.len() == PROCESS);
        assert_eq!(label(b"somebody"), "a holder that is none of ours");
        assert_ne!(tokens.next("a"), tokens.next("a"));
    }
}
