//! Where things stand in Redis: the namespace, and patterns for SCAN.

use std::collections::BTreeMap;
use std::io::Write;

use redis::{RedisWrite, ToRedisArgs, ToSingleRedisArg};

use crate::connection::slot;

/// The keys of one namespace: `<namespace>:<key>`.
#[derive(Clone, Debug)]
pub(crate) struct Keyspace {
    prefix: String,
}

impl Keyspace {
    pub(crate) fn new(namespace: &str) -> Self {
        Self { prefix: format!("{namespace}:") }
    }

    /// The key in Redis.
    pub(crate) fn key(&self, key: &str) -> String {
        // Several times faster than formatting.
        [&self.prefix, key].concat()
    }

    /// The key in Redis, as the argument of a command.
    pub(crate) fn name<'a>(&'a self, key: &'a str) -> Name<'a> {
        Name { prefix: &self.prefix, key }
    }

    /// The key whose name in Redis is `name`.
    pub(crate) fn bare<'a>(&self, name: &'a str) -> &'a str {
        name.strip_prefix(&self.prefix).unwrap_or(name)
    }

    /// The pattern that matches every key of the namespace that begins with `prefix`, and no other.
    pub(crate) fn pattern(&self, prefix: &str) -> String {
        let mut pattern = String::with_capacity(self.prefix.len() + prefix.len() + 1);
        for character in self.prefix.chars().chain(prefix.chars()) {
            if matches!(character, '*' | '?' | '[' | ']' | '\\' | '^' | '-') {
                pattern.push('\\');
            }
            pattern.push(character);
        }
        pattern.push('*');
        pattern
    }
}

/// A key in Redis that is put together where it is written: reads need no string of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Name<'a> {
    prefix: &'a str,
    key: &'a str,
}

impl Name<'_> {
    /// Its bytes.
    pub(crate) fn len(self) -> usize {
        self.prefix.len() + self.key.len()
    }
}

impl ToRedisArgs for Name<'_> {
    fn write_redis_args<W: ?Sized + RedisWrite>(&self, out: &mut W) {
        let mut argument = out.writer_for_next_arg();
        // Into memory: it cannot fail.
        let _ = argument.write_all(self.prefix.as_bytes());
        let _ = argument.write_all(self.key.as_bytes());
    }
}

impl ToSingleRedisArg for Name<'_> {}

/// The positions of `count` keys, in chunks of at most `size` that one command may name together:
/// all of them, or in a cluster those of one slot.
pub(crate) fn chunks<N: AsRef<str>>(
    count: usize,
    size: usize,
    by_slot: bool,
    name: impl Fn(usize) -> N,
) -> Vec<Vec<usize>> {
    let mut slots = BTreeMap::<u16, Vec<usize>>::new();
    for at in 0..count {
        slots.entry(if by_slot { slot(name(at).as_ref()) } else { 0 }).or_default().push(at);
    }
    slots.values().flat_map(|positions| positions.chunks(size).map(<[usize]>::to_vec)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn glob_characters_are_literal() {
        let keyspace = Keyspace::new("a*b");
        assert_eq!(keyspace.pattern("x?[y]\\"), "a\\*b:x\\?\\[y\\]\\\\*");
        assert_eq!(keyspace.key("k"), "a*b:k");
        assert_eq!(keyspace.bare("a*b:a*b:k"), "a*b:k");
        assert_eq!(keyspace.name("k").to_redis_args(), [b"a*b:k"]);
    }

    #[test]
    fn chunks_keep_slots_together() {
        let keys = ["{a}1", "b", "{a}2", "{a}3"];
        assert_eq!(chunks(keys.len(), 3, false, |at| keys[at]), [vec![0, 1, 2], vec![3]]);
        let by_slot = chunks(keys.len(), 2, true, |at| keys[at]);
        assert_eq!(by_slot.len(), 3);
        assert!(by_slot.contains(&vec![0, 2]) && by_slot.contains(&vec![3]));
        assert!(chunks(0, 2, true, |at| keys[at]).is_empty());
    }
}
