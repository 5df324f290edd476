//! A directory that goes away with its owner.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::port::random;

/// A fresh directory below the system's temporary one, readable by this user only, removed on
/// drop.
#[derive(Debug)]
pub(super) struct TempDir(PathBuf);

impl TempDir {
    pub(super) fn new() -> Self {
        let parent = std::env::temp_dir();
        // Short: a unix socket's path may have some hundred characters.
        let path = parent.join(format!("redis-{:012x}", random() & 0xffff_ffff_ffff));
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .unwrap_or_else(|e| panic!("cannot make the directory {}: {e}", path.display()));
        Self(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file and returns its path.
    pub(super) fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, content)
            .unwrap_or_else(|e| panic!("cannot write {}: {e}", path.display()));
        path
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // Nothing is lost if it stays: whoever empties the temporary directory takes it along.
        let _ = fs::remove_dir_all(&self.0);
    }
}
