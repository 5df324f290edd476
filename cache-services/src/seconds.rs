//! Durations as numbers of seconds, whole or decimal.

use std::fmt;
use std::time::Duration;

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserializer, Serializer};

/// Reads what a person writes: `300` or `0.5`. No signs, exponents or units.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    if !text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return None;
    }
    match text.parse() {
        Ok(whole) => Some(Duration::from_secs(whole)),
        Err(_) => Duration::try_from_secs_f64(text.parse().ok()?).ok(),
    }
}

pub(crate) fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
    match value.subsec_nanos() {
        0 => to.serialize_u64(value.as_secs()),
        _ => to.serialize_f64(value.as_secs_f64()),
    }
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    from.deserialize_any(Seconds)
}

/// The same for a duration that may be absent.
pub(crate) mod optional {
    use super::{Deserializer, Duration, Seconds, Serializer, Visitor};
    use serde::de::Error;
    use std::fmt;

    pub(crate) fn serialize<S: Serializer>(
        value: &Option<Duration>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => super::serialize(value, to),
            None => to.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Duration>, D::Error> {
        from.deserialize_option(MaybeSeconds)
    }

    struct MaybeSeconds;

    impl<'de> Visitor<'de> for MaybeSeconds {
        type Value = Option<Duration>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            Seconds.expecting(f)
        }

        fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
            super::deserialize(from).map(Some)
        }
    }
}

struct Seconds;

impl Visitor<'_> for Seconds {
    type Value = Duration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of seconds, whole or decimal, such as 300 or 0.5")
    }

    fn visit_u64<E: Error>(self, whole: u64) -> Result<Duration, E> {
        Ok(Duration::from_secs(whole))
    }

    fn visit_i64<E: Error>(self, whole: i64) -> Result<Duration, E> {
        let unsigned = u64::try_from(whole);
        unsigned
            .map(Duration::from_secs)
            .map_err(|_| E::invalid_value(Unexpected::Signed(whole), &self))
    }

    fn visit_f64<E: Error>(self, decimal: f64) -> Result<Duration, E> {
        let duration = Duration::try_from_secs_f64(decimal);
        duration.map_err(|_| E::invalid_value(Unexpected::Float(decimal), &self))
    }
}

#[cfg(test)]
mod tests {
    use super::parse;
    use std::time::Duration;

    #[test]
    fn whole_and_decimal_seconds() {
        for (text, duration) in [
            ("0", Duration::ZERO),
            ("300", Duration::from_secs(300)),
            ("0.5", Duration::from_millis(500)),
            (".25", Duration::from_millis(250)),
            ("18446744073709551615", Duration::from_secs(u64::MAX)),
        ] {
            assert_eq!(parse(text), Some(duration), "{text}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "",
            ".",
            "-1",
            "+1",
            "1e3",
            "inf",
            "nan",
            "1.2.3",
            "5s",
            "1 000",
            "18446744073709551616",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
