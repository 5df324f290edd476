//! Traces, generated and recorded, and the best that any cache can make of them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::error::Error as _;
use std::io::Write as _;
use std::path::PathBuf;

use cache_bench_kit::value::{Size, org};
use cache_bench_kit::{Arguments, Trace, optimum, zipf};
use liblzma::write::XzEncoder;

/// A file that goes with the test.
struct File(PathBuf);

impl File {
    fn new(name: &str, bytes: &[u8]) -> Self {
        let path = std::env::temp_dir().join(format!("{}-{name}", std::process::id()));
        std::fs::write(&path, bytes).unwrap();
        Self(path)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn bytes(accesses: &[u32]) -> Vec<u8> {
    accesses.iter().flat_map(|key| key.to_be_bytes()).collect()
}

#[test]
fn a_trace_is_a_sequence_of_big_endian_keys() {
    let file = File::new("shop.trace", &[0, 0, 1, 2, 0, 0, 0, 3, 0, 0, 1, 2]);
    let trace = Trace::read(&file.0).unwrap();
    assert_eq!(trace.accesses, [258, 3, 258]);
    assert_eq!(trace.keys(), 2);
    assert!(trace.name.ends_with("-shop"), "{}", trace.name);
}

#[test]
fn a_trace_may_be_compressed_whatever_it_is_called() {
    let mut encoder = XzEncoder::new(Vec::new(), 6);
    let accesses: Vec<u32> = (0..10_000).map(|at| at % 77).collect();
    encoder.write_all(&bytes(&accesses)).unwrap();
    let file = File::new("busy.trace", &encoder.finish().unwrap());
    assert_eq!(Trace::read(&file.0).unwrap().accesses, accesses);
}

#[test]
fn what_is_no_trace_is_refused_by_name() {
    let mut cut = XzEncoder::new(Vec::new(), 6);
    cut.write_all(&bytes(&[1, 2, 3])).unwrap();
    let mut cut = cut.finish().unwrap();
    cut.truncate(cut.len() / 2);
    for (name, bytes) in [("odd", &[0, 0, 1][..]), ("empty", &[]), ("cut", &cut)] {
        let file = File::new(name, bytes);
        let error = Trace::read(&file.0).unwrap_err();
        assert!(error.to_string().contains(&*file.0.to_string_lossy()), "{error}");
        assert!(error.source().is_some(), "{error}");
    }
    assert!(Trace::read(&std::env::temp_dir().join("no such trace")).is_err());
}

#[test]
fn the_optimum_knows_what_comes() {
    // Bélády's example: eight faults with three places, as a key may be left out.
    let accesses = [7, 0, 1, 2, 0, 3, 0, 4, 2, 3, 0, 3, 2, 1, 2, 0, 1, 7, 0, 1];
    assert_eq!(optimum(&accesses, 3), 12);
    assert_eq!(optimum(&[1, 1, 1], 1), 2);
    assert_eq!(optimum(&[1, 2, 1, 2], 1), 1, "one of the two stays");
    assert_eq!(optimum(&[1, 2, 3, 1, 2, 3], 3), 3);
    assert_eq!(optimum(&[1, 2, 3], 2), 0);
    assert_eq!(optimum(&[], 2), 0);
}

#[test]
fn no_order_of_what_to_drop_is_better_than_the_optimum() {
    for seed in 0..200 {
        let mut random = fastrand::Rng::with_seed(seed);
        let accesses: Vec<u32> = (0..10).map(|_| random.u32(..5)).collect();
        for capacity in 1..4 {
            assert_eq!(
                optimum(&accesses, capacity),
                best(&accesses, &[], capacity),
                "{accesses:?}"
            );
        }
    }
}

/// Every way of dropping keys, tried out.
fn best(accesses: &[u32], held: &[u32], capacity: usize) -> usize {
    let Some((key, rest)) = accesses.split_first() else { return 0 };
    if held.contains(key) {
        return 1 + best(rest, held, capacity);
    }
    let left_out = best(rest, held, capacity);
    let mut with: Vec<u32> = held.to_vec();
    with.push(*key);
    if with.len() <= capacity {
        return left_out.max(best(rest, &with, capacity));
    }
    let drop_one = |at: usize| {
        let mut kept = with.clone();
        kept.remove(at);
        best(rest, &kept, capacity)
    };
    (0..capacity).map(drop_one).fold(left_out, usize::max)
}

#[test]
fn popular_keys_come_in_proportion_and_the_same_again() {
    let accesses = zipf(1_000, 1.0, 100_000, 7);
    assert_eq!(accesses, zipf(1_000, 1.0, 100_000, 7));
    let mut counts = vec![0_u32; 1_000];
    for &key in &accesses {
        counts[key as usize] += 1;
    }
    counts.sort_unstable_by(|a, b| b.cmp(a));
    // The sum of 1 / rank over 1,000 ranks is 7.485.
    let expected = 100_000.0 / 7.485;
    assert!((f64::from(counts[0]) / expected - 1.0).abs() < 0.05, "{}", counts[0]);
    assert!((f64::from(counts[0]) / f64::from(counts[1]) - 2.0).abs() < 0.2);
}

#[test]
fn traces_of_the_same_name_are_told_apart() {
    let trace = || Trace { name: "busy".to_owned(), accesses: vec![1] };
    let mut traces: Vec<Trace> = Vec::new();
    for mut next in [trace(), trace(), trace()] {
        next.call_apart(&traces);
        traces.push(next);
    }
    let names: Vec<_> = traces.iter().map(|trace| &*trace.name).collect();
    assert_eq!(names, ["busy", "busy-2", "busy-3"]);
}

#[test]
fn values_are_as_large_as_was_asked() {
    assert_eq!(serde_json::to_vec(&org(1_234)).unwrap().len(), Size::SMALL);
    for bytes in [Size::LEAST, 121, 130, 149, 150, 151, 200, 333, 1_024, Size::LARGE, 100_000] {
        let size = Size::of(bytes);
        let org = size.org(1_234);
        assert_eq!(serde_json::to_vec(&org).unwrap().len(), bytes);
        assert_eq!((org.id, org.clone()), (1_234, size.org(1_234)));
    }
    let names = [150, 1_024, Size::LARGE].map(|bytes| Size::of(bytes).name());
    assert_eq!(names, ["150 B", "1 KiB", "4 KiB"]);
}

#[test]
fn words_of_a_bench_program() {
    let words =
        ["--bench", "--trace", "a.trace", "near", "--value-bytes", "200", "--trace", "b.xz"];
    let words = words.into_iter().chain(["7", "--full", "--value-bytes", "2048"]);
    let parsed = Arguments::parse(words.map(str::to_owned)).unwrap();
    assert_eq!(parsed.traces, [PathBuf::from("a.trace"), PathBuf::from("b.xz")]);
    assert_eq!((parsed.rounds, parsed.full, parsed.pinned), (Some(7), true, false));
    assert_eq!(parsed.value_bytes, [200, 2_048]);
    let sizes = parsed.sizes_or(&[Size::SMALL]);
    assert_eq!(sizes, [200, 2_048].map(Size::of));
    assert_eq!(Arguments::default().sizes_or(&[Size::SMALL]), [Size::of(150)]);
    assert!(parsed.wants("near") && !parsed.wants("miss"));
    assert!(Arguments::default().wants("miss"));
    assert_eq!(parsed.place(), "all cores");
    assert_eq!(parsed.among(&["miss", "near"]), Ok(()));
}

#[test]
fn what_no_program_can_do_is_refused_with_what_it_can() {
    let refused = |words: &[&str]| {
        let words = words.iter().map(|&word| word.to_owned());
        Arguments::parse(words).and_then(|parsed| parsed.among(&["hits", "growth"])).unwrap_err()
    };
    for (words, says) in [
        (&["--ful"][..], "--full"),
        (&["--value-bytes=300"], "--value-bytes N"),
        (&["--trace"], "wants a file"),
        (&["--trace", "--full"], "wants a file"),
        (&["--value-bytes"], "from 120 to 65536"),
        (&["--value-bytes", "119"], "from 120 to 65536"),
        (&["--value-bytes", "65537"], "from 120 to 65536"),
        (&["hits", "growht"], "no part growht: hits, growth"),
    ] {
        let error = refused(words).to_string();
        assert!(error.contains(says), "{words:?}: {error}");
    }
}
