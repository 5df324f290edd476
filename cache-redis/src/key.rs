//! Where things stand in Redis: the namespace, and patterns for SCAN.

use std::collections::BTreeMap;

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
        format!("{}{key}", self.prefix)
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

/// Positions of `keys`, in chunks of at most `size` that one command may name together: all of
/// them, or in a cluster those of one slot.
pub(crate) fn chunks(keys: &[String], size: usize, by_slot: bool) -> Vec<Vec<usize>> {
    let mut slots = BTreeMap::<u16, Vec<usize>>::new();
    for (position, key) in keys.iter().enumerate() {
        slots.entry(if by_slot { slot(key) } else { 0 }).or_default().push(position);
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
    }

    #[test]
    fn chunks_keep_slots_together() {
        let keys: Vec<_> = ["{a}1", "b", "{a}2", "{a}3"].map(str::to_owned).to_vec();
        assert_eq!(chunks(&keys, 3, false), [vec![0, 1, 2], vec![3]]);
        let by_slot = chunks(&keys, 2, true);
        assert_eq!(by_slot.len(), 3);
        assert!(by_slot.contains(&vec![0, 2]) && by_slot.contains(&vec![3]));
        assert!(chunks(&[], 2, true).is_empty());
    }
}
