//! The configuration: a YAML file, the environment on top of it, and defaults for what neither says.

mod cache;
mod fields;
pub(crate) mod reload;
mod yaml;

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use cache_services::CacheConfig;
use tracing::Level;

use crate::live::LiveSettings;
use crate::lookups::Mode;
use crate::secret::{LONGEST_TOKEN, Secret};
use fields::Section;
use yaml::{Scalar, Variables};

/// All that can be set. What each field means stands in `config.yaml`, beside the README.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where requests are taken.
    pub listen_addr: String,
    /// Where the admin API is.
    pub admin_addr: String,
    /// What the admin API is opened with; `None`: it refuses all.
    pub admin_token: Option<Secret>,
    /// What changes have to show; `None`: nothing.
    pub change_token: Option<Secret>,
    /// The database file; `None`: one of its own that is removed at the end.
    pub database_path: Option<PathBuf>,
    /// Connections to it at most.
    pub database_connections: usize,
    /// Organisations that a new database is given.
    pub organisations: u32,
    /// The cache and the locks.
    pub cache: CacheConfig,
    /// What the identity provider takes for an exchange.
    pub upstream_latency: Duration,
    /// How long a session lasts.
    pub upstream_session: Duration,
    /// How long requests have to come to their end when the service stops.
    pub shutdown: Duration,
    /// How much is logged.
    pub log: Level,
    /// What can change while the service runs.
    pub live: LiveSettings,
}

/// Everything that is wrong with a configuration.
#[derive(Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<String>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for Problems {}

impl Settings {
    /// The settings in the file at `path`, with the process environment on top.
    ///
    /// # Errors
    ///
    /// All [`Problems`] at once, each with its line or variable and what would be right.
    pub fn load(path: Option<&Path>) -> Result<Self, Problems> {
        let text = path.map_or_else(
            || Ok(String::new()),
            |path| {
                std::fs::read_to_string(path)
                    .map_err(|error| Problems(vec![format!("{}: {error}", path.display())]))
            },
        )?;
        Self::parse(&text, |name| std::env::var_os(name))
    }

    /// The same with the file's text, and variables from elsewhere.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn parse(
        text: &str,
        variables: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, Problems> {
        let mut problems = Vec::new();
        let settings = read(text, &variables, &mut problems);
        if problems.is_empty() { Ok(settings) } else { Err(Problems(problems)) }
    }
}

impl Default for Settings {
    /// What an empty file and an empty environment give.
    fn default() -> Self {
        read("", &|_| None, &mut Vec::new())
    }
}

/// How long a change takes at most until all instances show it, as `docs/consistency.md` says; where
/// the near tier is served during an outage, that much longer.
const SEEN_BY_ALL: Duration = Duration::from_millis(1_500);
const DAY: f64 = 86_400.0;
const ADDRESS: &str = "an address and a port, such as 127.0.0.1:8080";
const TOKEN: &str = "1 to 512 visible ASCII characters without blanks";

fn read(text: &str, variables: Variables<'_>, problems: &mut Vec<String>) -> Settings {
    let fields = yaml::read(text, variables, problems);
    let mut cache_problems = Vec::new();
    let mut root = Section::root(fields, variables, problems);

    let address = |scalar: &Scalar| {
        let (host, port) = scalar.text.rsplit_once(':')?;
        (!host.is_empty() && port.parse::<u16>().is_ok()).then(|| scalar.text.clone())
    };
    let listen = "127.0.0.1:8080".to_owned();
    let listen_addr = root.read("listen_addr", Some("LISTEN_ADDR"), ADDRESS, listen, address);
    let admin = "127.0.0.1:9090".to_owned();
    let admin_addr = root.read("admin_addr", Some("ADMIN_ADDR"), ADDRESS, admin, address);
    let admin_token = token(&mut root, "admin_token", "ADMIN_TOKEN");
    let change_token = token(&mut root, "change_token", "CHANGE_TOKEN");
    let resolver = root.read(
        "resolver",
        Some("RESOLVER"),
        "direct, cached or shadow",
        Mode::default(),
        |scalar| scalar.text.parse().ok(),
    );
    let shutdown = root.seconds("shutdown_secs", 0.1..=20.0, 20.0);
    let log = root.read("log", None, "error, warn, info, debug or trace", Level::INFO, |scalar| {
        Level::from_str(&scalar.text).ok()
    });

    let mut database = root.section("database");
    let database_path = database.text("path", "DATABASE_PATH", "the path of a file");
    let database_connections = database.number("connections", 1..=64, 4) as usize;
    let organisations = database.number("organisations", 1..=100_000, 1_000) as u32;
    database.finish();

    let cache = root.take_section("cache");
    let cache = cache::read(cache, variables, &mut cache_problems);

    let mut ttl = root.section("ttl");
    let organisation_ttl = ttl.seconds("organisations_secs", 0.001..=DAY, 300.0);
    let user_ttl = ttl.seconds("users_secs", 0.001..=DAY, 300.0);
    let token_ttl = ttl.seconds("tokens_secs", 0.001..=DAY, 3_600.0);
    let unknown_ttl = ttl.seconds("unknown_secs", 0.0..=DAY, 30.0);
    let organisation_stale = ttl.seconds("stale_secs", 0.0..=DAY, 30.0);
    let jitter = ttl.decimal("jitter", 0.0..=0.9, 0.0);
    ttl.finish();

    let mut limits = root.section("limits");
    let requests_per_second = limits.number_or_none("requests_per_second", 1..=1_000_000);
    let body_bytes = limits.number("body_bytes", 64..=1_048_576, 16_384) as usize;
    let request_timeout = limits.seconds("request_secs", 0.01..=20.0, 10.0);
    let header_timeout = limits.seconds("header_secs", 0.1..=300.0, 30.0);
    limits.finish();

    let mut shadow = root.section("shadow");
    let shadow_sample = shadow.decimal("sample", 0.0..=1.0, 1.0);
    let shadow_settle = shadow.seconds("settle_secs", 2.0..=60.0, 3.0);
    let seen_by_all = SEEN_BY_ALL + cache.near_grace;
    if resolver == Mode::Shadow && shadow_settle <= seen_by_all {
        shadow.note(format!(
            "shadow.settle_secs is {}; it must be more than {}: 1.5, and the cache's near_grace_secs",
            shadow_settle.as_secs_f64(),
            seen_by_all.as_secs_f64(),
        ));
    }
    shadow.finish();

    let mut upstream = root.section("upstream");
    let upstream_latency = upstream.seconds("latency_secs", 0.0..=20.0, 0.05);
    let upstream_session = upstream.seconds("session_secs", 10.0..=DAY, 600.0);
    upstream.finish();

    root.finish();
    problems.append(&mut cache_problems);
    Settings {
        listen_addr,
        admin_addr,
        admin_token,
        change_token,
        database_path: database_path.map(PathBuf::from),
        database_connections,
        organisations,
        cache,
        upstream_latency,
        upstream_session,
        shutdown,
        log,
        live: LiveSettings {
            resolver,
            organisation_ttl,
            user_ttl,
            token_ttl,
            unknown_ttl,
            organisation_stale,
            jitter,
            requests_per_second: requests_per_second.map(|rate| rate as u32),
            body_bytes,
            request_timeout,
            header_timeout,
            shadow_sample,
            shadow_settle,
        },
    }
}

/// A token that somebody has to show; a wrong one is not repeated.
fn token(root: &mut Section<'_>, name: &'static str, variable: &str) -> Option<Secret> {
    let text = root.text(name, variable, TOKEN)?;
    if text.len() <= LONGEST_TOKEN && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Some(Secret::new(text));
    }
    root.note(format!("{name} ({variable}) is wrong: it must be {TOKEN}"));
    None
}
