//! Numbers that no copy of this process draws as well.

use std::sync::LazyLock;

use rustls::crypto::{SecureRandom, ring};

/// From the operating system, which is not copied with a process as the state of a generator within
/// it is; from the process where it has none.
pub(crate) fn random() -> u64 {
    static SYSTEM: LazyLock<&'static dyn SecureRandom> =
        LazyLock::new(|| ring::default_provider().secure_random);
    let mut bytes = [0; 8];
    match SYSTEM.fill(&mut bytes) {
        Ok(()) => u64::from_ne_bytes(bytes),
        Err(_) => fastrand::u64(..),
    }
}
