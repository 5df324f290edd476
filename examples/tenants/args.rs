//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

pub(crate) const HELP: &str = "\
Looks tenants up in an embedded database, without a cache and with one, prints what that cost, and
checks two promises: a change is seen after `invalidate`, and one of many tasks refreshes a token.

Usage: cargo run --release --example tenants -- [OPTIONS]

  --lookups N    lookups of the run with the cache, up to 20,000,000
                 [1,000,000; with --trace: all of the trace]
  --seed N       seed of the generated data and workload [1]
  --trace FILE   replay a recorded trace instead of a Zipf workload: big-endian u32 keys, also
                 packed with xz; each key is mapped onto an organisation
  --instances N  instances of the service, each with caches and connections of its own, that share
                 the Redis of REDIS_URL, up to 16; the lookups and checks are spread over them [1]
  -h, --help     this text

The cache is set up from the environment, for example CACHE_MEMORY=moka, CACHE_MAX_CAPACITY=500
or CACHE_TTL_SECS=1.";

/// More would need more memory for the latencies than a demonstration should take.
const MOST_LOOKUPS: usize = 20_000_000;
const MOST_INSTANCES: usize = 16;

/// What was asked for.
#[derive(Debug, PartialEq)]
pub(crate) enum Asked {
    Run(Args),
    Help,
}

#[derive(Debug, PartialEq)]
pub(crate) struct Args {
    /// `None`: a million, or all of the trace.
    pub(crate) lookups: Option<usize>,
    pub(crate) seed: u64,
    pub(crate) trace: Option<PathBuf>,
    pub(crate) instances: usize,
}

#[derive(Debug, PartialEq, thiserror::Error)]
pub(crate) enum ArgsError {
    #[error("unknown argument {0:?}")]
    Unknown(OsString),
    #[error("{0} needs a value")]
    NoValue(&'static str),
    #[error("{option} is {value:?}; it must be a whole number from {least} to {most}")]
    Number { option: &'static str, value: OsString, least: u64, most: u64 },
}

impl Args {
    pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Asked, ArgsError> {
        let mut parsed = Self { lookups: None, seed: 1, trace: None, instances: 1 };
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            // `--name value` or `--name=value`.
            let (name, joined) = match arg.to_str().and_then(|arg| arg.split_once('=')) {
                Some((name, value)) => (Some(name), Some(OsString::from(value))),
                None => (arg.to_str(), None),
            };
            match (name, &joined) {
                (Some("--lookups"), _) => {
                    let value = joined.or_else(|| args.next());
                    let lookups = number("--lookups", value, 1, MOST_LOOKUPS as u64)?;
                    parsed.lookups = Some(lookups as usize);
                }
                (Some("--seed"), _) => {
                    let value = joined.or_else(|| args.next());
                    parsed.seed = number("--seed", value, 0, u64::MAX)?;
                }
                (Some("--trace"), _) => {
                    let value = joined.or_else(|| args.next()).filter(|path| !path.is_empty());
                    parsed.trace = Some(value.ok_or(ArgsError::NoValue("--trace"))?.into());
                }
                (Some("--instances"), _) => {
                    let value = joined.or_else(|| args.next());
                    let instances = number("--instances", value, 1, MOST_INSTANCES as u64)?;
                    parsed.instances = instances as usize;
                }
                (Some("-h" | "--help"), None) => return Ok(Asked::Help),
                _ => return Err(ArgsError::Unknown(arg)),
            }
        }
        Ok(Asked::Run(parsed))
    }

    /// How many lookups to make where the workload has `available`.
    pub(crate) fn lookups_of(&self, available: usize) -> usize {
        self.lookups.unwrap_or(MOST_LOOKUPS).min(available)
    }
}

fn number(
    option: &'static str,
    value: Option<OsString>,
    least: u64,
    most: u64,
) -> Result<u64, ArgsError> {
    let value = value.ok_or(ArgsError::NoValue(option))?;
    let number = value.to_str().and_then(|text| text.replace([',', '_'], "").parse().ok());
    match number {
        Some(number) if (least..=most).contains(&number) => Ok(number),
        _ => Err(ArgsError::Number { option, value, least, most }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Asked, ArgsError> {
        Args::parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn nothing_means_the_defaults() {
        let args = Args { lookups: None, seed: 1, trace: None, instances: 1 };
        assert_eq!(parse(""), Ok(Asked::Run(args)));
    }

    #[test]
    fn all_options() {
        let trace = Some("a.trace".into());
        let args = Args { lookups: Some(5_000), seed: 7, trace, instances: 3 };
        let line = "--lookups 5,000 --seed 7 --trace a.trace --instances=3";
        assert_eq!(parse(line), Ok(Asked::Run(args)));
    }

    #[test]
    fn help_wins() {
        assert_eq!(parse("--seed 7 --help"), Ok(Asked::Help));
        assert_eq!(parse("-h --nonsense"), Ok(Asked::Help));
    }

    #[test]
    fn wrong_ones_are_named() {
        for (line, message) in [
            ("--fast", r#"unknown argument "--fast""#),
            ("file", r#"unknown argument "file""#),
            ("--help=all", r#"unknown argument "--help=all""#),
            ("--trace", "--trace needs a value"),
            ("--trace=", "--trace needs a value"),
            ("--seed", "--seed needs a value"),
            ("--lookups 0", r#"--lookups is "0"; it must be a whole number from 1 to 20000000"#),
            (
                "--lookups 20000001",
                r#"--lookups is "20000001"; it must be a whole number from 1 to 20000000"#,
            ),
            ("--instances 0", r#"--instances is "0"; it must be a whole number from 1 to 16"#),
            (
                "--seed -1",
                r#"--seed is "-1"; it must be a whole number from 0 to 18446744073709551615"#,
            ),
        ] {
            assert_eq!(parse(line).unwrap_err().to_string(), message, "{line}");
        }
    }
}
