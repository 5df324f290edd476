//! Which tenants are looked up, in which order: a Zipf distribution, or a recorded trace.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::sync::Arc;

use liblzma::read::XzDecoder;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use rand_distr::Zipf;

use crate::AnyError;
use crate::args::Args;
use crate::directory::By;
use crate::format::count;
use crate::seed::ORGANISATIONS;

const LOOKUPS: usize = 1_000_000;
/// How uneven it is: the n-th organisation is asked for 1/n times as often as the first.
const ZIPF_EXPONENT: f64 = 1.0;
/// What an xz file begins with.
const XZ_MAGIC: [u8; 6] = [0xFD, b'7', b'z', b'X', b'Z', 0];

/// One lookup: the place of an organisation in the directory, and what it is asked for by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Pick {
    pub(crate) organisation: u16,
    pub(crate) by: By,
}

#[derive(Clone, Debug)]
pub(crate) struct Workload {
    pub(crate) name: String,
    pub(crate) picks: Arc<[Pick]>,
}

impl Workload {
    pub(crate) fn from_args(args: &Args) -> Result<Self, AnyError> {
        let Some(path) = &args.trace else {
            let picks = zipf(args.lookups.unwrap_or(LOOKUPS), args.seed)?;
            return Ok(Self { name: format!("Zipf, seed {}", args.seed), picks: picks.into() });
        };
        let most = args.lookups_of(usize::MAX);
        let keys = File::open(path)
            .and_then(|file| read_trace(BufReader::new(file), most))
            .map_err(|error| format!("cannot replay {}: {error}", path.display()))?;
        let name = path.file_name().unwrap_or(path.as_os_str()).display();
        let name = format!("{} lookups recorded in {name}", count(keys.len() as u64));
        Ok(Self { name, picks: keys.into_iter().map(Pick::of_key).collect() })
    }

    /// The first `most` of the same lookups.
    pub(crate) fn first(&self, most: usize) -> Self {
        let picks = &self.picks[..self.picks.len().min(most)];
        Self { name: self.name.clone(), picks: picks.into() }
    }
}

impl Pick {
    /// Maps a recorded key onto an organisation and a way to ask for it: always the same.
    fn of_key(key: u32) -> Self {
        // Recorded keys have patterns, such as being all even; mixing their bits first spreads
        // them over all organisations.
        let mixed = (u64::from(key).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as u32;
        let organisations = ORGANISATIONS as u32;
        Self { organisation: (mixed % organisations) as u16, by: By::nth(mixed / organisations) }
    }
}

fn zipf(lookups: usize, seed: u64) -> Result<Vec<Pick>, AnyError> {
    let mut random = SmallRng::seed_from_u64(seed);
    let ranks = Zipf::new(ORGANISATIONS as f64, ZIPF_EXPONENT)?;
    let pick = |_| {
        // Ranks are 1.0, 2.0, … as floating-point numbers.
        let rank: f64 = random.sample(ranks);
        Pick { organisation: rank as u16 - 1, by: By::nth(random.random()) }
    };
    Ok((0..lookups).map(pick).collect())
}

/// Reads up to `most` big-endian keys, packed with xz or not.
fn read_trace(mut file: impl Read, most: usize) -> io::Result<Vec<u32>> {
    let mut start = Vec::new();
    file.by_ref().take(XZ_MAGIC.len() as u64).read_to_end(&mut start)?;
    let packed = start == XZ_MAGIC;
    let file = start.as_slice().chain(file);
    let limit = (most as u64).saturating_mul(4);
    let mut bytes = Vec::new();
    if packed {
        XzDecoder::new(file).take(limit).read_to_end(&mut bytes)?;
    } else {
        file.take(limit).read_to_end(&mut bytes)?;
    }
    match bytes.as_chunks() {
        ([], []) => Err(io::Error::other("it is empty")),
        (keys, []) => Ok(keys.iter().map(|key| u32::from_be_bytes(*key)).collect()),
        (_, rest) => {
            let odd = format!("it is no sequence of u32 keys: {} bytes are left over", rest.len());
            Err(io::Error::other(odd))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use liblzma::read::XzEncoder;

    #[test]
    fn a_zipf_workload_repeats_and_is_uneven() {
        let picks = zipf(10_000, 7).unwrap();
        assert_eq!(picks, zipf(10_000, 7).unwrap());
        assert_ne!(picks, zipf(10_000, 8).unwrap());
        assert!(picks.iter().all(|pick| usize::from(pick.organisation) < ORGANISATIONS));
        let times = |place| picks.iter().filter(|pick| pick.organisation == place).count();
        assert!(times(0) > 20 * times(99).max(1), "{} and {}", times(0), times(99));
        for by in [By::Slug, By::Host, By::Uuid] {
            assert!(picks.iter().filter(|pick| pick.by == by).count() > 3_000);
        }
    }

    #[test]
    fn traces_are_read_packed_or_not() {
        let bytes = [0, 0, 0, 1, 0, 0, 1, 0, 255, 255, 255, 255];
        let keys = vec![1, 256, u32::MAX];
        let mut packed = Vec::new();
        XzEncoder::new(&bytes[..], 6).read_to_end(&mut packed).unwrap();
        for file in [&bytes[..], &packed] {
            assert_eq!(read_trace(file, 100).unwrap(), keys);
            assert_eq!(read_trace(file, 2).unwrap(), keys[..2]);
        }
    }

    #[test]
    fn what_is_no_trace_is_refused() {
        for file in [&b""[..], b"abc", b"abcde", &XZ_MAGIC, b"\xFD7zXZ\0nonsense"] {
            assert!(read_trace(file, 100).is_err(), "{file:?}");
        }
    }

    #[test]
    fn keys_with_a_pattern_reach_all_organisations() {
        let mut reached = vec![0; ORGANISATIONS];
        for key in (0..80_000).map(|key| key * 4_000) {
            let pick = Pick::of_key(key);
            assert_eq!(pick, Pick::of_key(key));
            reached[usize::from(pick.organisation)] += 1;
        }
        assert!(reached.iter().all(|times| (10..100).contains(times)), "{reached:?}");
    }

    #[test]
    fn the_first_lookups_are_the_same_ones() {
        let picks: Arc<[Pick]> = zipf(100, 1).unwrap().into();
        let workload = Workload { name: "test".into(), picks };
        assert_eq!(workload.first(10).picks[..], workload.picks[..10]);
        assert_eq!(workload.first(1_000).picks, workload.picks);
    }
}
