//! What a mock of a cache answers by key, and which writes it waits for.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use cache_core::{CacheError, Entry, ErrorKind, Selector};

/// What is known of a key.
#[derive(Debug)]
pub(super) enum Answer {
    Hit(Entry),
    Miss,
    Fails(ErrorKind),
}

impl Answer {
    /// The entry, `None` for a miss.
    pub(super) fn entry(&self, key: &str) -> Result<Option<Entry>, CacheError> {
        match self {
            Self::Hit(entry) => Ok(Some(entry.clone())),
            Self::Miss => Ok(None),
            Self::Fails(kind) => Err(failure(*kind, key)),
        }
    }
}

fn failure(kind: ErrorKind, key: &str) -> CacheError {
    CacheError::new(kind, "the mock was told to fail").with_key(key)
}

/// A write that must come.
#[derive(Debug, PartialEq)]
pub(super) enum Write {
    Set { key: String, json: String },
    Remove(Selector),
}

#[derive(Debug)]
struct Expected {
    write: Write,
    done: AtomicBool,
}

#[derive(Debug, Default)]
pub(super) struct Script {
    answers: HashMap<String, Answer>,
    expected: Vec<Expected>,
    /// Keys that nothing is said about are misses.
    pub(super) others_miss: bool,
    /// Writes that nothing is said about are taken.
    pub(super) takes_writes: bool,
}

const MISS: &Answer = &Answer::Miss;

impl Script {
    pub(super) fn answer(&mut self, key: &str, answer: Answer) {
        self.answers.insert(key.to_owned(), answer);
    }

    /// What is known of `key`; `None` leaves it to the expectations.
    pub(super) fn about(&self, key: &str) -> Option<&Answer> {
        self.answers.get(key).or(self.others_miss.then_some(MISS))
    }

    pub(super) fn knows_all(&self, keys: &[String]) -> bool {
        keys.iter().all(|key| self.about(key).is_some())
    }

    fn check(&self, key: &str) -> Result<(), CacheError> {
        match self.answers.get(key) {
            Some(Answer::Fails(kind)) => Err(failure(*kind, key)),
            _ => Ok(()),
        }
    }

    pub(super) fn expect(&mut self, write: Write) {
        self.expected.push(Expected { write, done: AtomicBool::new(false) });
    }

    /// Ticks off the first open expectation of `write`.
    fn tick(&self, write: &Write) -> bool {
        let open = self.expected.iter().filter(|expected| expected.write == *write);
        open.into_iter().any(|expected| !expected.done.swap(true, Ordering::SeqCst))
    }

    /// What becomes of a `set`; `None` leaves it to the expectations.
    pub(super) fn set(&self, key: &str, entry: &Entry) -> Option<Result<(), CacheError>> {
        if let Err(error) = self.check(key) {
            return Some(Err(error));
        }
        let json = entry.bytes().map_or("(absent)".into(), String::from_utf8_lossy).into_owned();
        let write = Write::Set { key: key.to_owned(), json };
        if self.tick(&write) || self.takes_writes {
            return Some(Ok(()));
        }
        let other = self.expected.iter().find(|expected| {
            matches!(&expected.write, Write::Set { key: open, .. } if open == key)
                && !expected.done.load(Ordering::SeqCst)
        });
        if let Some(Expected { write: expected, .. }) = other {
            panic!(
                "another value was set than expected:\n     got {write:?}\nexpected {expected:?}"
            );
        }
        None
    }

    /// What becomes of a removal; `None` leaves it to the expectations.
    pub(super) fn remove(&self, what: &Selector) -> Option<Result<(), CacheError>> {
        if let Selector::Keys(keys) = what {
            if let Some(error) = keys.iter().find_map(|key| self.check(key).err()) {
                return Some(Err(error));
            }
            let each = |key: &String| self.tick(&Write::Remove(Selector::key(key)));
            let expected = keys.iter().filter(|key| each(key)).count();
            return (expected == keys.len() || self.takes_writes).then_some(Ok(()));
        }
        let expected = self.tick(&Write::Remove(what.clone()));
        (expected || self.takes_writes).then_some(Ok(()))
    }

    /// What was expected and has not come.
    pub(super) fn missing(&self) -> Vec<&Write> {
        let open = self.expected.iter().filter(|expected| !expected.done.load(Ordering::SeqCst));
        open.map(|expected| &expected.write).collect()
    }
}
