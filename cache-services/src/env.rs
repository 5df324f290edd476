//! The settings as environment variables.

use std::ffi::OsString;

use cache_core::TracedKeys;

use crate::fault::Fault;
use crate::{CacheConfig, seconds};

pub(crate) const BACKENDS: &str = "quick or moka";
const URL: &str = "a URL such as redis://127.0.0.1:6379/0";
const NAMESPACE: &str = "up to 128 bytes without blanks, such as billing";
const SECONDS: &str = "a number of seconds, whole or decimal, such as 300 or 0.5";
const ENTRIES: &str = "a whole number of entries from 0 to 18446744073709551615, such as 10000";
const BYTES: &str = "a whole number of bytes from 0 to 18446744073709551615, such as 67108864";
const TRACED: &str = "hashed or clear";
const SWITCH: &str = "on or off (also true or false, 1 or 0)";

/// The settings among the variables that `lookup` knows; the defaults for those it does not.
pub(crate) fn read(lookup: impl Fn(&str) -> Option<OsString>) -> Result<CacheConfig, Fault> {
    let vars = Vars { lookup };
    let default = CacheConfig::default();
    let text = |text: &str| Some(text.to_owned());
    Ok(CacheConfig {
        redis_url: vars.get("REDIS_URL", URL, text)?,
        namespace: vars.get("CACHE_NAMESPACE", NAMESPACE, text)?.unwrap_or(default.namespace),
        name: vars.get("CACHE_NAME", NAMESPACE, text)?.unwrap_or(default.name),
        default_ttl: vars
            .get("CACHE_TTL_SECS", SECONDS, seconds::parse)?
            .unwrap_or(default.default_ttl),
        max_capacity: vars.get("CACHE_MAX_CAPACITY", ENTRIES, count)?,
        max_weight_bytes: vars.get("CACHE_MAX_WEIGHT_BYTES", BYTES, count)?,
        time_to_idle: vars.get("CACHE_IDLE_SECS", SECONDS, seconds::parse)?,
        memory: vars
            .get("CACHE_MEMORY", BACKENDS, |name| name.parse().ok())?
            .unwrap_or(default.memory),
        near: vars.get("CACHE_NEAR", SWITCH, switch)?.unwrap_or(default.near),
        near_ttl: vars.get("CACHE_NEAR_TTL_SECS", SECONDS, seconds::parse)?,
        near_grace: vars
            .get("CACHE_NEAR_GRACE_SECS", SECONDS, seconds::parse)?
            .unwrap_or(default.near_grace),
        start_degraded: vars
            .get("CACHE_START_DEGRADED", SWITCH, switch)?
            .unwrap_or(default.start_degraded),
        traced_keys: vars.get("CACHE_TRACED_KEYS", TRACED, traced)?.unwrap_or(default.traced_keys),
    })
}

struct Vars<L> {
    lookup: L,
}

impl<L: Fn(&str) -> Option<OsString>> Vars<L> {
    /// The variable as `parse` reads it without the blanks around it. Empty counts as unset: that
    /// is how compose files and shells leave a variable out.
    fn get<T>(
        &self,
        variable: &'static str,
        wanted: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Fault> {
        let Some(value) = (self.lookup)(variable) else {
            return Ok(None);
        };
        let Ok(value) = value.into_string() else {
            return Err(Fault::NotUtf8 { variable, wanted });
        };
        match value.trim() {
            "" => Ok(None),
            text => match parse(text) {
                Some(parsed) => Ok(Some(parsed)),
                None => Err(Fault::value(variable, text, wanted)),
            },
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
