//! How keys stand in spans.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How the keys of entries and locks stand in spans: keys are users' data, and what is traced goes
/// far.
///
/// ```
/// use cache_core::TracedKeys;
///
/// assert_eq!(TracedKeys::Hashed.show("org:acme").to_string(), "db3224e941a2a863");
/// assert_eq!(TracedKeys::Clear.show("org:acme").to_string(), "org:acme");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum TracedKeys {
    /// As 16 hexadecimal digits: FNV-1a of 64 bits, the same in every process and version, so that
    /// a key that is known can be looked for. Who can guess a key can check the guess.
    #[default]
    Hashed,
    /// As they are.
    Clear,
}

impl TracedKeys {
    /// The key as it stands in a span.
    pub fn show(self, key: &str) -> impl fmt::Display {
        Shown { key, how: self }
    }
}

struct Shown<'a> {
    key: &'a str,
    how: TracedKeys,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.how {
            TracedKeys::Hashed => write!(f, "{:016x}", hash(self.key)),
            TracedKeys::Clear => f.write_str(self.key),
        }
    }
}

fn hash(key: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    key.bytes().fold(0xcbf2_9ce4_8422_2325, step)
}
