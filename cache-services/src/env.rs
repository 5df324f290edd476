//! The settings as environment variables.

use std::cell::RefCell;
use std::collections::HashSet;
use std::ffi::OsString;
use std::path::PathBuf;

use cache_core::TracedKeys;

use crate::fault::{Fault, Faults};
use crate::{CacheConfig, seconds};

pub(crate) const BACKENDS: &str = "quick or moka";
const URL: &str = "a URL such as redis://127.0.0.1:6379/0";
const PEM: &str = "the path of a file with certificates (PEM)";
const NAMESPACE: &str = "up to 128 bytes without blanks, such as billing";
const SECONDS: &str = "a number of seconds, whole or decimal, such as 300 or 0.5";
const ENTRIES: &str = "a whole number of entries from 0 to 18446744073709551615, such as 10000";
const BYTES: &str = "a whole number of bytes from 0 to 18446744073709551615, such as 67108864";
const TRACED: &str = "hashed or clear";
const SWITCH: &str = "on or off (also true or false, 1 or 0)";

/// `base` with the settings among the variables that `lookup` knows.
pub(crate) fn read(
    base: CacheConfig,
    lookup: impl Fn(&str) -> Option<OsString>,
) -> Result<CacheConfig, Faults> {
    let mut vars = Vars { lookup, faults: Vec::new() };
    let text = |text: &str| Some(text.to_owned());
    let config = CacheConfig {
        redis_url: vars.get("REDIS_URL", URL, text).or(base.redis_url),
        redis_ca: vars
            .get("CACHE_REDIS_CA", PEM, |path| Some(PathBuf::from(path)))
            .or(base.redis_ca),
        operation_timeout: vars
            .get("CACHE_OPERATION_TIMEOUT_SECS", SECONDS, seconds::parse)
            .or(base.operation_timeout),
        namespace: vars.get("CACHE_NAMESPACE", NAMESPACE, text).unwrap_or(base.namespace),
        name: vars.get("CACHE_NAME", NAMESPACE, text).unwrap_or(base.name),
        default_ttl: vars
            .get("CACHE_TTL_SECS", SECONDS, seconds::parse)
            .unwrap_or(base.default_ttl),
        max_capacity: vars.get("CACHE_MAX_CAPACITY", ENTRIES, count).or(base.max_capacity),
        max_weight_bytes: vars
            .get("CACHE_MAX_WEIGHT_BYTES", BYTES, count)
            .or(base.max_weight_bytes),
        time_to_idle: vars.get("CACHE_IDLE_SECS", SECONDS, seconds::parse).or(base.time_to_idle),
        memory: vars.get("CACHE_MEMORY", BACKENDS, |name| name.parse().ok()).unwrap_or(base.memory),
        near: vars.get("CACHE_NEAR", SWITCH, switch).unwrap_or(base.near),
        near_ttl: vars.get("CACHE_NEAR_TTL_SECS", SECONDS, seconds::parse).or(base.near_ttl),
        near_grace: vars
            .get("CACHE_NEAR_GRACE_SECS", SECONDS, seconds::parse)
            .unwrap_or(base.near_grace),
        start_degraded: vars
            .get("CACHE_START_DEGRADED", SWITCH, switch)
            .unwrap_or(base.start_degraded),
        traced_keys: vars.get("CACHE_TRACED_KEYS", TRACED, traced).unwrap_or(base.traced_keys),
    };
    if vars.faults.is_empty() { Ok(config) } else { Err(Faults(vars.faults)) }
}

/// Those of `names` that look like settings and are none: nobody reads them.
pub(crate) fn unknown(names: impl Iterator<Item = OsString>) -> Vec<String> {
    let known = RefCell::new(HashSet::new());
    let _ = read(CacheConfig::default(), |name| {
        known.borrow_mut().insert(name.to_owned());
        None
    });
    let known = known.into_inner();
    let names = names.filter_map(|name| name.into_string().ok());
    let mut unknown: Vec<_> =
        names.filter(|name| name.starts_with("CACHE_") && !known.contains(name)).collect();
    unknown.sort();
    unknown
}

struct Vars<L> {
    lookup: L,
    faults: Vec<Fault>,
}

impl<L: Fn(&str) -> Option<OsString>> Vars<L> {
    /// The variable as `parse` reads it without the blanks around it; `None` if it is unset, or wrong,
    /// which is noted. Empty counts as unset: that is how compose files and shells leave a variable out.
    fn get<T>(
        &mut self,
        variable: &'static str,
        wanted: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let value = (self.lookup)(variable)?;
        let Ok(value) = value.into_string() else {
            self.faults.push(Fault::NotUtf8 { variable, wanted });
            return None;
        };
        match value.trim() {
            "" => None,
            text => {
                let parsed = parse(text);
                if parsed.is_none() {
                    self.faults.push(Fault::value(variable, text, wanted));
                }
                parsed
            }
        }
    }
}

fn count(text: &str) -> Option<u64> {
    // `parse` alone would take a plus sign.
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

fn traced(text: &str) -> Option<TracedKeys> {
    match text.to_ascii_lowercase().as_str() {
        "hashed" => Some(TracedKeys::Hashed),
        "clear" => Some(TracedKeys::Clear),
        _ => None,
    }
}

fn switch(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "on" | "true" | "1" => Some(true),
        "off" | "false" | "0" => Some(false),
        _ => None,
    }
}
