//! Recorded accesses: a file of big-endian `u32` keys, one per access, in order; xz or plain.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use liblzma::read::XzDecoder;

/// With which an xz file begins.
const XZ: &[u8] = &[0xfd, b'7', b'z', b'X', b'Z', 0];

/// Who asked for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// What it is called in the report.
    pub name: String,
    /// In order.
    pub accesses: Vec<u32>,
}

/// A trace that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the trace {} cannot be read", path.display())]
pub struct TraceError {
    path: PathBuf,
    source: io::Error,
}

impl Trace {
    /// The trace in the file at `path`, by the name of the file without its endings. Whether it is
    /// compressed is seen from its first bytes.
    ///
    /// # Errors
    ///
    /// A file that is not there, is damaged, is empty or ends in the middle of a key.
    pub fn read(path: &Path) -> Result<Self, TraceError> {
        let bytes = bytes(path).map_err(|source| TraceError { path: path.to_owned(), source })?;
        let accesses = bytes.iter().map(|key| u32::from_be_bytes(*key)).collect();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = name.split('.').next().unwrap_or_default().to_owned();
        Ok(Self { name, accesses })
    }

    /// Has a number put behind its name if one of the `others` has the same name, so that everybody can
    /// tell them apart.
    pub fn call_apart(&mut self, others: &[Self]) {
        let taken = |name: &str| others.iter().any(|other| other.name == name);
        let mut numbered = (2_usize..).map(|number| format!("{}-{number}", self.name));
        if taken(&self.name)
            && let Some(name) = numbered.find(|name| !taken(name))
        {
            self.name = name;
        }
    }

    /// The number of different keys.
    #[must_use]
    pub fn keys(&self) -> usize {
        let mut keys = self.accesses.clone();
        keys.sort_unstable();
        keys.dedup();
        keys.len()
    }
}

fn bytes(path: &Path) -> io::Result<Vec<[u8; 4]>> {
    let file = std::fs::read(path)?;
    let plain = if file.starts_with(XZ) {
        let mut plain = Vec::new();
        XzDecoder::new_multi_decoder(&*file).read_to_end(&mut plain)?;
        plain
    } else {
        file
    };
    let (keys, rest) = plain.as_chunks::<4>();
    if keys.is_empty() || !rest.is_empty() {
        let what = format!("{} bytes are no sequence of 4-byte keys", plain.len());
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    Ok(keys.to_vec())
}
