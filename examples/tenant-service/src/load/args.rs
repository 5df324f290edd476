//! The command line.

use std::ffi::OsString;
use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;
use std::time::Duration;

use crate::secret::Secret;

/// What `--help` says.
pub const HELP: &str = "\
Asks instances of tenant-service at a fixed rate, whether or not they keep up, and prints how long the
answers took, counted from the moment at which each request was due.

Usage: tenant-load [OPTIONS]

  --target URL            an instance, such as http://127.0.0.1:8080; may be given several times: the
                          requests go to each in turn [http://127.0.0.1:8080]
  --rate N                requests a second, all targets together [1000]
  --seconds N             how long [10]
  --tenants N             how many of the seeded organisations are asked for [1000]
  --zipf S                how uneven: the n-th is asked for 1/n^S as often as the first; 0: evenly [1.0]
  --reads WHAT            org, me or both: GET /org by slug, host and UUID in turn, GET /me with a token
                          [org; both with --changes-per-second]
  --changes-per-second N  so many users a second are given another role, each of another organisation;
                          no answer may show the role from before for longer than the bound [0]
  --bound-ms N            how long another instance than the one that changed it may [1500]
  --connections N         connections to each target at most [64]
  --timeout-ms N          when an answer is given up [10000]
  --warm-up               ask for every organisation once before, uncounted
  --seed N                seed of the random choices [1]
  --admin URL             the admin address of an instance, for the hit ratio; may be given several times
  --admin-token TOKEN     its token [that of ADMIN_TOKEN]
  --change-token TOKEN    what changes have to show [that of CHANGE_TOKEN]
  -h, --help              this text

Exits with 1 if a request failed or an answer was older than it may be.";

/// What was asked for.
#[derive(Debug)]
pub enum Asked {
    /// To put load on something.
    Run(Box<LoadArgs>),
    /// The help.
    Help,
}

/// What is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// `GET /org`.
    Org,
    /// `GET /me`.
    Me,
    /// Both in turn.
    Both,
}

/// An instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target(pub SocketAddr);

impl FromStr for Target {
    type Err = ();

    fn from_str(url: &str) -> Result<Self, ()> {
        let address = url.strip_prefix("http://").unwrap_or(url).trim_end_matches('/');
        let mut found = address.to_socket_addrs().map_err(drop)?;
        found.next().map(Self).ok_or(())
    }
}

/// The options.
#[derive(Clone, Debug)]
pub struct LoadArgs {
    /// The instances, at least one.
    pub targets: Vec<Target>,
    /// Requests a second.
    pub rate: u32,
    /// How long.
    pub duration: Duration,
    /// Of how many organisations.
    pub tenants: u32,
    /// How uneven.
    pub zipf: f64,
    /// What is read.
    pub reads: Reads,
    /// Changes a second.
    pub changes_per_second: u32,
    /// How long another instance may answer with what was there before a change.
    pub bound: Duration,
    /// Connections to each target.
    pub connections: usize,
    /// When an answer is given up.
    pub timeout: Duration,
    /// Whether every organisation is asked for once before.
    pub warm_up: bool,
    /// The seed.
    pub seed: u64,
    /// Admin addresses.
    pub admins: Vec<Target>,
    /// Their token.
    pub admin_token: Option<Secret>,
    /// What changes have to show.
    pub change_token: Option<Secret>,
    /// Whether a progress bar is drawn.
    pub progress: bool,
}

impl Default for LoadArgs {
    fn default() -> Self {
        Self {
            targets: vec![Target(SocketAddr::from(([127, 0, 0, 1], 8080)))],
            rate: 1_000,
            duration: Duration::from_secs(10),
            tenants: 1_000,
            zipf: 1.0,
            reads: Reads::Org,
            changes_per_second: 0,
            bound: Duration::from_millis(1_500),
            connections: 64,
            timeout: Duration::from_secs(10),
            warm_up: false,
            seed: 1,
            admins: Vec::new(),
            admin_token: None,
            change_token: None,
            progress: false,
        }
    }
}

/// What is wrong with the command line.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ArgsError {
    /// There is no such option.
    #[error("unknown argument: {0}")]
    Unknown(String),
    /// An option that takes none has a value.
    #[error("{0} takes no value")]
    NoValue(String),
    /// An option without its value, or with one that does not fit.
    #[error("{option} needs {wanted}")]
    Value {
        /// The option.
        option: String,
        /// What would be right.
        wanted: &'static str,
    },
}

impl LoadArgs {
    /// Reads a command line, without the program's name. `variable` looks environment variables up.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong.
    pub fn parse(
        args: impl IntoIterator<Item = OsString>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Asked, ArgsError> {
        let secret = |name| variable(name).filter(|text| !text.is_empty()).map(Secret::new);
        let mut parsed = Self {
            admin_token: secret("ADMIN_TOKEN"),
            change_token: secret("CHANGE_TOKEN"),
            progress: true,
            ..Self::default()
        };
        let (mut targets, mut reads) = (Vec::new(), None);
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            let Some(text) = arg.to_str() else { return Err(unknown("")) };
            // `--name value` or `--name=value`.
            let (option, joined) = match text.split_once('=') {
                Some((option, value)) => (option.to_owned(), Some(value.to_owned())),
                None => (text.to_owned(), None),
            };
            let mut value = Value {
                option: option.clone(),
                value: || joined.clone().or_else(|| args.next()?.into_string().ok()),
            };
            match option.as_str() {
                "--target" => targets.push(value.read(URL, |text| text.parse().ok())?),
                "--admin" => parsed.admins.push(value.read(URL, |text| text.parse().ok())?),
                "--rate" => parsed.rate = value.number(RATE, 1..=200_000)? as u32,
                "--seconds" => {
                    parsed.duration = Duration::from_secs(value.number(SECONDS, 1..=86_400)?);
                }
                "--tenants" => parsed.tenants = value.number(TENANTS, 1..=100_000)? as u32,
                "--zipf" => {
                    let fits = |s: &f64| (0.0..=4.0).contains(s);
                    parsed.zipf = value
                        .read("a number from 0 to 4", |text| text.parse().ok().filter(fits))?;
                }
                "--reads" => {
                    reads = Some(value.read("org, me or both", |text| match text {
                        "org" => Some(Reads::Org),
                        "me" => Some(Reads::Me),
                        "both" => Some(Reads::Both),
                        _ => None,
                    })?);
                }
                "--changes-per-second" => {
                    parsed.changes_per_second = value.number(CHANGES, 0..=10_000)? as u32;
                }
                "--bound-ms" => {
                    parsed.bound = Duration::from_millis(value.number(MILLIS, 0..=600_000)?);
                }
                "--timeout-ms" => {
                    parsed.timeout = Duration::from_millis(value.number(MILLIS, 1..=600_000)?);
                }
                "--connections" => {
                    parsed.connections = value.number("from 1 to 10000", 1..=10_000)? as usize;
                }
                "--seed" => parsed.seed = value.number("a whole number", 0..=u64::MAX)?,
                "--admin-token" => parsed.admin_token = Some(value.read("a token", secret_text)?),
                "--change-token" => parsed.change_token = Some(value.read("a token", secret_text)?),
                "--warm-up" | "-h" | "--help" if joined.is_some() => {
                    return Err(ArgsError::NoValue(option));
                }
                "--warm-up" => parsed.warm_up = true,
                "-h" | "--help" => return Ok(Asked::Help),
                _ => return Err(unknown(&option)),
            }
        }
        if !targets.is_empty() {
            parsed.targets = targets;
        }
        let changes = parsed.changes_per_second > 0;
        parsed.reads = reads.unwrap_or(if changes { Reads::Both } else { Reads::Org });
        Ok(Asked::Run(Box::new(parsed)))
    }
}

/// Names an option, and nothing else that was written: it may be a token.
fn unknown(option: &str) -> ArgsError {
    ArgsError::Unknown(match option.starts_with('-') {
        true => option.to_owned(),
        false => "one that does not begin with -".to_owned(),
    })
}

const URL: &str = "the URL of an instance, such as http://127.0.0.1:8080";
const RATE: &str = "requests a second, from 1 to 200000";
const SECONDS: &str = "seconds, from 1 to 86400";
const TENANTS: &str = "a number of organisations, from 1 to 100000";
const CHANGES: &str = "changes a second, from 0 to 10000";
const MILLIS: &str = "milliseconds, up to 600000";

fn secret_text(text: &str) -> Option<Secret> {
    (!text.is_empty()).then(|| Secret::new(text))
}

struct Value<F> {
    option: String,
    value: F,
}

impl<F: FnMut() -> Option<String>> Value<F> {
    fn read<T>(
        &mut self,
        wanted: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, ArgsError> {
        let parsed = (self.value)().and_then(|text| parse(&text));
        parsed.ok_or_else(|| ArgsError::Value { option: self.option.clone(), wanted })
    }

    fn number(
        &mut self,
        wanted: &'static str,
        range: std::ops::RangeInclusive<u64>,
    ) -> Result<u64, ArgsError> {
        let fits = |number: &u64| range.contains(number);
        self.read(wanted, |text| text.replace([',', '_'], "").parse().ok().filter(fits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Asked, ArgsError> {
        let variable = |name: &str| (name == "ADMIN_TOKEN").then(|| "from-outside".to_owned());
        LoadArgs::parse(line.split_whitespace().map(OsString::from), variable)
    }

    fn run(line: &str) -> LoadArgs {
        match parse(line) {
            Ok(Asked::Run(args)) => *args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn options_are_read() {
        let args =
            run("--target http://127.0.0.1:1/ --target=127.0.0.1:2 --rate 5,000 --seconds 3");
        assert_eq!(args.targets.len(), 2);
        assert_eq!((args.rate, args.duration.as_secs()), (5_000, 3));
        assert_eq!((args.reads, args.warm_up), (Reads::Org, false));
        assert_eq!(
            args.admin_token.map(|token| token.reveal().to_owned()).as_deref(),
            Some("from-outside")
        );
        let args = run("--changes-per-second 100 --warm-up --zipf 0");
        assert_eq!((args.reads, args.warm_up), (Reads::Both, true));
        assert_eq!(run("--changes-per-second 1 --reads me").reads, Reads::Me);
        assert!(matches!(parse("--help"), Ok(Asked::Help)));
    }

    #[test]
    fn wrong_ones_are_named() {
        for (line, message) in [
            ("--fast", "unknown argument: --fast"),
            ("--warm-up=1", "--warm-up takes no value"),
            ("--admin-tokn=open-sesame", "unknown argument: --admin-tokn"),
            ("--admin-token a open-sesame", "unknown argument: one that does not begin with -"),
            ("--rate", "--rate needs requests a second, from 1 to 200000"),
            ("--rate 0", "--rate needs requests a second, from 1 to 200000"),
            ("--zipf -1", "--zipf needs a number from 0 to 4"),
            ("--reads all", "--reads needs org, me or both"),
            (
                "--target nowhere",
                "--target needs the URL of an instance, such as http://127.0.0.1:8080",
            ),
        ] {
            assert_eq!(parse(line).unwrap_err().to_string(), message, "{line}");
        }
    }
}
