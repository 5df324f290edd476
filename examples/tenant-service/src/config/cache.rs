//! The section `cache`: the settings of the library, in the library's own words.

use cache_services::{CacheConfig, RedisConfig};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::yaml::{Fields, Node, Scalar, Variables};

/// The name under which this service's keys stand in Redis.
const NAMESPACE: &str = "tenants";

/// Reads the section, and what the environment says on top. Each field is tried alone first, so that
/// every one that is wrong is told.
pub(super) fn read(
    fields: Fields,
    variables: Variables<'_>,
    problems: &mut Vec<String>,
) -> CacheConfig {
    let mut good = Map::new();
    for (name, (line, node)) in fields {
        let readings = match node {
            Node::Scalar(scalar) if scalar.is_empty() => continue,
            Node::Scalar(scalar) => readings(scalar),
            Node::Section(_) | Node::List => {
                problems.push(format!("line {line}: cache.{name} must be one value"));
                continue;
            }
        };
        let alone = |value: &Value| Value::Object(Map::from_iter([(name.clone(), value.clone())]));
        // What is said of the likeliest reading.
        let mut wrong = None;
        let fits = |value: &Value| {
            let read = CacheConfig::deserialize(alone(value)).map_err(|error| error.to_string());
            match read.and_then(checked) {
                Ok(_) => true,
                Err(error) => {
                    wrong.get_or_insert(error);
                    false
                }
            }
        };
        match (readings.into_iter().find(fits), wrong) {
            (Some(value), _) => drop(good.insert(name, value)),
            // It may hold a password.
            (None, _) if name == "redis_url" => {
                problems.push(format!("line {line}: cache.redis_url must be a URL in quotes"));
            }
            (None, wrong) => {
                let error = wrong.unwrap_or_default();
                problems.push(format!("line {line}: cache.{name} is wrong: {error}"));
            }
        }
    }
    let mut config = CacheConfig::deserialize(Value::Object(good)).unwrap_or_default();
    if config.namespace.is_empty() {
        NAMESPACE.clone_into(&mut config.namespace);
    }
    let config = config.clone().with_vars(variables).unwrap_or_else(|error| {
        problems.push(error.to_string());
        config
    });
    if let Err(error) = checked(config.clone()) {
        problems.push(format!("cache: {error}"));
    }
    config
}

/// What types cannot say.
fn checked(config: CacheConfig) -> Result<CacheConfig, String> {
    config.validate().map_err(|error| error.to_string())?;
    if let Some(url) = config.redis_url.as_deref().filter(|url| !url.trim().is_empty()) {
        RedisConfig::from_url(url.trim()).map_err(|error| format!("redis_url: {error}"))?;
    }
    Ok(config)
}

/// What a scalar may be, the likeliest first: in quotes text alone, else what it looks like, or text
/// after all where the field is one. Switches are `on` and `off` too, as in the environment.
fn readings(Scalar { text, quoted }: Scalar) -> Vec<Value> {
    let plain = match text.as_str() {
        _ if quoted => None,
        "true" | "on" => Some(Value::Bool(true)),
        "false" | "off" => Some(Value::Bool(false)),
        _ => serde_json::from_str(&text).ok().filter(Value::is_number),
    };
    plain.into_iter().chain([Value::String(text)]).collect()
}
