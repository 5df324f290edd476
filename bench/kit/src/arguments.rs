//! The words a bench program is called with.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;

/// Says that this process is the one that runs on one core.
const PINNED: &str = "--pinned";
/// Says that the run takes its time.
const FULL: &str = "--full";
/// A recorded trace, in the next word.
const TRACE: &str = "--trace";

/// What a bench program was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arguments {
    /// How many rounds, if a number was given.
    pub rounds: Option<usize>,
    /// The parts to run; all if there are none.
    pub words: Vec<String>,
    /// Files of recorded accesses.
    pub traces: Vec<PathBuf>,
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
        if parts.is_empty() {
            taskset.args(&self.words);
        } else {
            taskset.args(parts);
        }
        let ran = taskset.status().is_ok_and(|status| status.success());
        assert!(ran, "the run on one core failed; it needs taskset, of util-linux");
    }
}
