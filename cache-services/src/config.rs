//! What a service may set, in the form it stands in a configuration file.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use cache_core::{CacheError, TracedKeys};
use serde::{Deserialize, Serialize};

use crate::fault::{Fault, Faults};
use crate::redis_url::Shown;
use crate::{env, seconds};

/// The shortest TTL and idle time: what is finer than the family keeps time by would be zero.
const SHORTEST: Duration = Duration::from_millis(1);
/// The longest operation.
const LONGEST: Duration = Duration::from_secs(60);
const LONGEST_NAMESPACE: usize = 128;

/// The settings of [`CacheServices`](crate::CacheServices), to be embedded in a service's own YAML,
/// TOML or JSON. Fields that are left out take their defaults, unknown ones are refused.
///
/// Durations are numbers of seconds there, whole or decimal, in fields that end in `_secs`.
/// Values are checked when the services are built.
///
/// In code, write `..CacheConfig::default()` at the end: fields will be added.
///
/// `Debug` leaves the credentials of `redis_url` out; `Serialize` writes them, as it must for the
/// configuration to be read back.
///
/// ```
/// use cache_services::CacheConfig;
/// use std::time::Duration;
///
/// #[derive(serde::Deserialize)]
/// struct Settings {
///     port: u16,
///     #[serde(default)]
///     cache: CacheConfig,
/// }
///
/// let settings: Settings = toml::from_str(r#"
///     port = 8080
///
///     [cache]
///     default_ttl_secs = 60
///     time_to_idle_secs = 7.5
///     max_capacity = 50000
///     memory = "moka"
/// "#)?;
/// assert_eq!(settings.cache.default_ttl, Duration::from_secs(60));
/// assert_eq!(settings.cache.time_to_idle, Some(Duration::from_millis(7500)));
/// # let _ = settings.port; Ok::<_, toml::de::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CacheConfig {
    /// Where Redis is; absent, empty or blank: in process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redis_url: Option<String>,
    /// The file with the certificates (PEM) that Redis's must be signed by, in place of the usual
    /// public authorities; absent or empty: those. It is read when the services are built. No effect
    /// without TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redis_ca: Option<PathBuf>,
    /// `operation_timeout_secs`: how long one operation of Redis may take in all; absent: 0.25 s.
    /// 1 ms to 60 s. No effect without Redis.
    #[serde(
        rename = "operation_timeout_secs",
        with = "seconds::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub operation_timeout: Option<Duration>,
    /// What this service's keys and locks in Redis are told apart by: up to 128 bytes without
    /// blanks; empty: `cache`. No effect in process, where nothing is shared between services.
    pub namespace: String,
    /// What this service is called where it is measured: up to 128 bytes without blanks; empty: its
    /// namespace. No effect without the feature `metrics`.
    pub name: String,
    /// `default_ttl_secs`: how long entries live whose policy sets no TTL; 300 s. At least 1 ms.
    #[serde(rename = "default_ttl_secs", with = "seconds")]
    pub default_ttl: Duration,
    /// How many entries the process holds at most; absent: 10,000, or any number where
    /// `max_weight_bytes` is set. 0 stores nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_capacity: Option<u64>,
    /// How many bytes of keys and encoded values the process holds at most; absent: any number.
    /// 0 stores nothing. For the quick backend only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_weight_bytes: Option<u64>,
    /// `time_to_idle_secs`: how long an entry stays that nobody reads; absent: as long as it
    /// lives. At least 1 ms.
    #[serde(
        rename = "time_to_idle_secs",
        with = "seconds::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub time_to_idle: Option<Duration>,
    /// Which backend holds entries in process.
    pub memory: MemoryBackend,
    /// Whether the process holds entries in front of Redis, kept coherent over pub/sub; on. The
    /// bounds above are then those of this near tier. No effect without Redis.
    pub near: bool,
    /// `near_ttl_secs`: how long the near tier has an entry for fresh at most; absent: as long as the
    /// entry is. Where a policy has a stale window, it follows that. At least 1 ms.
    #[serde(
        rename = "near_ttl_secs",
        with = "seconds::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub near_ttl: Option<Duration>,
    /// `near_grace_secs`: how long the near tier is still served when pub/sub is lost; 0.
    #[serde(rename = "near_grace_secs", with = "seconds")]
    pub near_grace: Duration,
    /// Whether to start when Redis cannot be reached, and to connect later; off. No effect
    /// without Redis.
    pub start_degraded: bool,
    /// How keys stand in spans: `hashed` or `clear`; hashed. No effect without the feature
    /// `tracing`.
    pub traced_keys: TracedKeys,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            redis_url: None,
            redis_ca: None,
            operation_timeout: None,
            namespace: String::new(),
            name: String::new(),
            default_ttl: Duration::from_secs(300),
            max_capacity: None,
            max_weight_bytes: None,
            time_to_idle: None,
            memory: MemoryBackend::default(),
            near: true,
            near_ttl: None,
            near_grace: Duration::ZERO,
            start_degraded: false,
            traced_keys: TracedKeys::default(),
        }
    }
}

impl CacheConfig {
    /// The settings in the process environment; the crate's documentation lists the variables. Others
    /// whose names begin with `CACHE_` are named in a warning, as they have no effect.
    ///
    /// # Errors
    ///
    /// [`Config`](cache_core::ErrorKind::Config) naming every variable that is wrong, its value and
    /// what would be right.
    pub fn from_env() -> Result<Self, CacheError> {
        let unknown = env::unknown(std::env::vars_os().map(|(name, _)| name));
        if !unknown.is_empty() {
            let variables = unknown.join(", ");
            tracing::warn!(variables, "these variables are no settings of the cache");
        }
        Self::from_vars(|name| std::env::var_os(name))
    }

    /// As [`from_env`](Self::from_env), with the variables from elsewhere: `lookup` is asked for
    /// each by name.
    ///
    /// # Errors
    ///
    /// As [`from_env`](Self::from_env).
    ///
    /// ```
    /// use cache_services::CacheConfig;
    ///
    /// let config = CacheConfig::from_vars(|name| (name == "CACHE_MAX_CAPACITY").then(|| "500".into()))?;
    /// assert_eq!(config.max_capacity, Some(500));
    /// # Ok::<_, cache_services::CacheError>(())
    /// ```
    pub fn from_vars(lookup: impl Fn(&str) -> Option<OsString>) -> Result<Self, CacheError> {
        Self::default().with_vars(lookup)
    }

    /// These settings, with those on top that `lookup` knows a variable for: for a service that reads
    /// a file and lets the environment go before it.
    ///
    /// # Errors
    ///
    /// As [`from_env`](Self::from_env).
    ///
    /// ```
    /// use cache_services::CacheConfig;
    ///
    /// let file = CacheConfig { namespace: "billing".into(), ..CacheConfig::default() };
    /// let config = file.with_vars(|name| (name == "CACHE_MAX_CAPACITY").then(|| "500".into()))?;
    /// assert_eq!((config.namespace.as_str(), config.max_capacity), ("billing", Some(500)));
    /// # Ok::<_, cache_services::CacheError>(())
    /// ```
    pub fn with_vars(self, lookup: impl Fn(&str) -> Option<OsString>) -> Result<Self, CacheError> {
        Ok(env::read(self, lookup)?)
    }

    /// Checks what a type cannot, as building the services does: for a service that wants to tell of
    /// everything that is wrong before it begins.
    ///
    /// # Errors
    ///
    /// [`Config`](cache_core::ErrorKind::Config) naming every setting that is wrong, its value and what
    /// would be right.
    ///
    /// ```
    /// use cache_services::CacheConfig;
    /// use std::time::Duration;
    ///
    /// let config = CacheConfig { default_ttl: Duration::ZERO, ..CacheConfig::default() };
    /// assert!(config.validate().unwrap_err().to_string().contains("default_ttl_secs"));
    /// ```
    pub fn validate(&self) -> Result<(), CacheError> {
        let faults = self.faults();
        if faults.is_empty() { Ok(()) } else { Err(Faults(faults).into()) }
    }

    fn faults(&self) -> Vec<Fault> {
        let Self {
            redis_url: _,
            redis_ca: _,
            operation_timeout,
            namespace,
            name,
            default_ttl,
            max_capacity: _,
            max_weight_bytes,
            time_to_idle,
            memory,
            near: _,
            near_ttl,
            near_grace: _,
            start_degraded: _,
            traced_keys: _,
        } = self;
        let mut faults = Vec::new();
        if let Some(timeout) = operation_timeout.filter(|time| *time < SHORTEST || *time > LONGEST)
        {
            faults.push(Fault::value(
                "operation_timeout_secs (CACHE_OPERATION_TIMEOUT_SECS)",
                timeout.as_secs_f64(),
                "0.001 to 60",
            ));
        }
        if *default_ttl < SHORTEST {
            faults.push(Fault::value(
                "default_ttl_secs (CACHE_TTL_SECS)",
                default_ttl.as_secs_f64(),
                "at least 0.001: with a TTL of zero nothing would ever be found; to store nothing, \
                 set the capacity to 0",
            ));
        }
        if let Some(idle) = time_to_idle.filter(|idle| *idle < SHORTEST) {
            faults.push(Fault::value(
                "time_to_idle_secs (CACHE_IDLE_SECS)",
                idle.as_secs_f64(),
                "at least 0.001: with an idle time of zero nothing would ever be found; leave it \
                 out to keep entries as long as they live",
            ));
        }
        if let Some(ttl) = near_ttl.filter(|ttl| *ttl < SHORTEST) {
            faults.push(Fault::value(
                "near_ttl_secs (CACHE_NEAR_TTL_SECS)",
                ttl.as_secs_f64(),
                "at least 0.001: with a TTL of zero the near tier would hold nothing; to have none, \
                 set near (CACHE_NEAR) to off",
            ));
        }
        if *memory == MemoryBackend::Moka && max_weight_bytes.is_some() {
            faults.push(Fault::MokaHasNoWeights);
        }
        let odd = |letter: char| letter.is_whitespace() || letter.is_control();
        for (setting, text) in
            [("namespace (CACHE_NAMESPACE)", namespace), ("name (CACHE_NAME)", name)]
        {
            if text.len() > LONGEST_NAMESPACE || text.contains(odd) {
                let wanted =
                    "up to 128 bytes without blanks or control characters, such as billing";
                faults.push(Fault::value(setting, text, wanted));
            }
        }
        faults
    }
}

impl fmt::Debug for CacheConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let redis_url = self.redis_url.as_deref().map(|url| Shown::of(url).to_string());
        f.debug_struct("CacheConfig")
            .field("redis_url", &redis_url)
            .field("redis_ca", &self.redis_ca)
            .field("operation_timeout", &self.operation_timeout)
            .field("namespace", &self.namespace)
            .field("name", &self.name)
            .field("default_ttl", &self.default_ttl)
            .field("max_capacity", &self.max_capacity)
            .field("max_weight_bytes", &self.max_weight_bytes)
            .field("time_to_idle", &self.time_to_idle)
            .field("memory", &self.memory)
            .field("near", &self.near)
            .field("near_ttl", &self.near_ttl)
            .field("near_grace", &self.near_grace)
            .field("start_degraded", &self.start_degraded)
            .field("traced_keys", &self.traced_keys)
            .finish()
    }
}

/// Which backend holds entries in process: `quick` or `moka` where it is written down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum MemoryBackend {
    /// [`QuickCacheService`](crate::QuickCacheService): the faster one, which can also be bounded
    /// in bytes.
    #[default]
    Quick,
    /// [`MokaCacheService`](crate::MokaCacheService): for its TinyLFU admission.
    Moka,
}

impl fmt::Display for MemoryBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Quick => "quick",
            Self::Moka => "moka",
        })
    }
}

impl FromStr for MemoryBackend {
    type Err = CacheError;

    /// Reads a backend's name, upper or lower case.
    fn from_str(name: &str) -> Result<Self, CacheError> {
        match name.to_ascii_lowercase().as_str() {
            "quick" => Ok(Self::Quick),
            "moka" => Ok(Self::Moka),
            _ => Err(Fault::value("the memory backend", name, env::BACKENDS).into()),
        }
    }
}
