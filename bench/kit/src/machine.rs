//! On what it was measured.

use rustix::system::uname;
use serde::{Deserialize, Serialize};

/// The machine, as far as figures depend on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// As the processor calls itself.
    pub processor: String,
    /// That this process may use.
    pub cores: usize,
    /// In GiB, rounded.
    pub memory_gib: u64,
    /// Name and version.
    pub system: String,
}

impl Machine {
    /// This one.
    #[must_use]
    pub fn this() -> Self {
        let processor =
            field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".to_owned());
        let kib =
            field("/proc/meminfo", "MemTotal").and_then(|text| kib(&text)).unwrap_or_default();
        let (system, cores) = (uname(), std::thread::available_parallelism());
        let release = system.release().to_string_lossy();
        // Without what a distribution adds.
        let version = release.split('-').next().unwrap_or_default();
        Self {
            processor,
            cores: cores.map_or(1, usize::from),
            memory_gib: (kib + 512 * 1024) / (1024 * 1024),
            system: format!("{} {}", system.sysname().to_string_lossy(), version),
        }
    }
}

/// MiB of this process in memory.
#[must_use]
pub fn resident() -> f64 {
    let kib = field("/proc/self/status", "VmRSS").and_then(|text| kib(&text));
    kib.unwrap_or_default() as f64 / 1024.0
}

/// What stands after `name:` in such a file.
fn field(path: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn kib(text: &str) -> Option<u64> {
    text.strip_suffix(" kB")?.trim().parse().ok()
}
