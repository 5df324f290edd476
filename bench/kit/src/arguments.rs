//! The words a bench program is called with.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;

use crate::value::Size;

/// Says that this process is the one that runs on one core.
const PINNED: &str = "--pinned";
/// Says that the run takes its time.
const FULL: &str = "--full";
/// A recorded trace, in the next word.
const TRACE: &str = "--trace";

/// How many bytes values have, in the next word.
const VALUE_BYTES: &str = "--value-bytes";

/// What a bench program was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arguments {
    /// How many rounds, if a number was given.
    pub rounds: Option<usize>,
    /// The parts to run; all if there are none.
    pub words: Vec<String>,
    /// Files of recorded accesses.
    pub traces: Vec<PathBuf>,
    /// How many bytes values have, if that was said.
    pub value_bytes: Vec<usize>,
    /// Whether the run takes its time; else it is short.
    pub full: bool,
    /// Whether this process, and all that it starts, is on one core.
    pub pinned: bool,
}

impl Arguments {
    /// Those of this process.
    #[must_use]
    pub fn of_this_process() -> Self {
        Self::parse(std::env::args().skip(1))
    }

    /// `--bench` is what cargo adds.
    #[must_use]
    pub fn parse(words: impl IntoIterator<Item = String>) -> Self {
        let (mut parsed, mut words) = (Self::default(), words.into_iter());
        while let Some(word) = words.next() {
            match word.as_str() {
                PINNED => parsed.pinned = true,
                FULL => parsed.full = true,
                TRACE => parsed.traces.extend(words.next().map(PathBuf::from)),
                VALUE_BYTES => {
                    // What is no number is no size either.
                    let bytes = words.next().and_then(|bytes| bytes.parse().ok());
                    parsed.value_bytes.push(bytes.unwrap_or_default());
                }
                "--bench" => {}
                _ => match word.parse() {
                    Ok(rounds) => parsed.rounds = Some(rounds),
                    Err(_) => parsed.words.push(word),
                },
            }
        }
        parsed
    }

    /// The number of rounds: what was asked for, or one of these.
    #[must_use]
    pub fn rounds_or(&self, quick: usize, full: usize) -> usize {
        self.rounds.unwrap_or(self.choose(quick, full))
    }

    /// The sizes of values: those that were asked for, or these.
    #[must_use]
    pub fn sizes_or(&self, bytes: &[usize]) -> Vec<Size> {
        let asked = if self.value_bytes.is_empty() { bytes } else { &self.value_bytes };
        asked.iter().copied().map(Size::of).collect()
    }

    /// What a quick run takes, or what a full one takes.
    #[must_use]
    pub fn choose<T>(&self, quick: T, full: T) -> T {
        if self.full { full } else { quick }
    }

    /// Whether `part` is to be run: it was named, or none was.
    #[must_use]
    pub fn wants(&self, part: &str) -> bool {
        self.words.is_empty() || self.words.iter().any(|word| word == part)
    }

    /// Where everything runs, in words.
    #[must_use]
    pub fn place(&self) -> &'static str {
        if self.pinned { "one core" } else { "all cores" }
    }

    /// Runs this program again, asked for the same, on one core with all that it starts; of the
    /// parts only `parts`, or all if that is empty.
    ///
    /// # Panics
    ///
    /// If that run fails or there is no `taskset`.
    pub fn run_on_one_core(&self, parts: &[&str]) {
        let program = std::env::current_exe().unwrap_or_default();
        let mut taskset = Command::new("taskset");
        taskset.args([OsStr::new("-c"), OsStr::new("0"), program.as_os_str()]).arg(PINNED);
        if self.full {
            taskset.arg(FULL);
        }
        taskset.args(self.rounds.map(|rounds| rounds.to_string()));
        for bytes in &self.value_bytes {
            taskset.args([VALUE_BYTES, &bytes.to_string()]);
        }
        if parts.is_empty() {
            taskset.args(&self.words);
        } else {
            taskset.args(parts);
        }
        let ran = taskset.status().is_ok_and(|status| status.success());
        assert!(ran, "the run on one core failed; it needs taskset, of util-linux");
    }
}
