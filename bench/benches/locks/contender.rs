//! What takes part: locks over one Redis, as one process has them.

use std::collections::BTreeMap;

pub(crate) trait Contender: Send + Sync + 'static {
    const NAME: &'static str;
    type Guard: Send;

    /// As a process of its own would: with connections of its own.
    fn connect(url: &str) -> impl Future<Output = Self> + Send;

    /// Waits for as long as it takes.
    fn acquire(&self, key: &str) -> impl Future<Output = Self::Guard> + Send;

    fn release(&self, guard: Self::Guard) -> impl Future<Output = ()> + Send;

    /// How many of the commands that a server has counted were attempts to take a lock, if that many
    /// locks have been taken and given back.
    fn attempts(commands: &BTreeMap<String, u64>, taken: u64) -> u64;

    /// How many of them it sent itself while it waited: not those that scripts run, and no heartbeats.
    fn commands(commands: &BTreeMap<String, u64>) -> u64;
}

/// How often a command was called.
pub(crate) fn calls(commands: &BTreeMap<String, u64>, command: &str) -> u64 {
    commands.get(command).copied().unwrap_or(0)
}
