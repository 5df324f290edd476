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

/// Words that ask for nothing that there is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArgumentsError {
    /// An option that no program has.
    #[error("there is no option {0}: {FULL}, {TRACE} FILE, {VALUE_BYTES} N")]
    Option(String),
    /// A part that the program does not have.
    #[error("there is no part {word}: {}", if parts.is_empty() { "there are none".to_owned() } else { parts.join(", ") })]
    Part {
        /// What was asked for.
        word: String,
        /// What it has.
        parts: Vec<String>,
    },
    /// Nothing behind `--trace`.
    #[error("{TRACE} wants a file, in the next word")]
    NoFile,
    /// No size behind `--value-bytes`.
    #[error(
        "{VALUE_BYTES} wants a number from {} to {}, in the next word",
        Size::LEAST,
        Size::MOST
    )]
    Bytes,
}

impl Arguments {
    /// Those of this process, which has these `parts`. It ends with a word to standard error if it was
    /// asked for something else. What follows a word that is `inner`, by which a program calls itself, is
    /// its own affair.
    #[must_use]
    pub fn of_this_process(parts: &[&str], inner: &[&str]) -> Self {
        let asked = Self::parse(std::env::args().skip(1)).and_then(|parsed| {
            let by_itself = parsed.words.first().is_some_and(|word| inner.contains(&word.as_str()));
            if !by_itself {
                parsed.among(parts)?;
            }
            Ok(parsed)
        });
        asked.unwrap_or_else(|error| {
            #[allow(clippy::print_stderr, reason = "how a program says that it was called wrongly")]
            {
                eprintln!("{error}");
            }
            std::process::exit(2)
        })
    }

    /// `--bench` is what cargo adds.
    ///
    /// # Errors
    ///
    /// An option that there is not, one without what it wants, a size that there is not.
    pub fn parse(words: impl IntoIterator<Item = String>) -> Result<Self, ArgumentsError> {
        let (mut parsed, mut words) = (Self::default(), words.into_iter());
        while let Some(word) = words.next() {
            match word.as_str() {
                PINNED => parsed.pinned = true,
                FULL => parsed.full = true,
                TRACE => {
                    let file = words.next().filter(|file| !file.starts_with("--"));
                    parsed.traces.push(file.ok_or(ArgumentsError::NoFile)?.into());
                }
                VALUE_BYTES => {
                    let bytes = words.next().and_then(|bytes| bytes.parse().ok());
                    let bytes = bytes.filter(|bytes| (Size::LEAST..=Size::MOST).contains(bytes));
                    parsed.value_bytes.push(bytes.ok_or(ArgumentsError::Bytes)?);
                }
                "--bench" => {}
                _ if word.starts_with('-') => return Err(ArgumentsError::Option(word)),
                _ => match word.parse() {
                    Ok(rounds) => parsed.rounds = Some(rounds),
                    Err(_) => parsed.words.push(word),
                },
            }
        }
        Ok(parsed)
    }

    /// Whether each word names one of the `parts`.
    ///
    /// # Errors
    ///
    /// The first that does not.
    pub fn among(&self, parts: &[&str]) -> Result<(), ArgumentsError> {
        let unknown = self.words.iter().find(|word| !parts.contains(&word.as_str()));
        match unknown {
            None => Ok(()),
            Some(word) => Err(ArgumentsError::Part {
                word: word.clone(),
                parts: parts.iter().map(|&part| part.to_owned()).collect(),
            }),
        }
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
        let ran = taskset.status().map(|status| status.success());
        assert!(
            matches!(ran, Ok(true)),
            "the run on one core, with taskset of util-linux: {ran:?}"
        );
    }
}
