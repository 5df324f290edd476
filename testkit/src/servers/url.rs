//! The few things that are done to Redis URLs here.

use std::fmt::Write;

/// `text` with everything percent-encoded that has a meaning in a URL.
pub(super) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").expect("a string takes it");
        }
    }
    encoded
}

/// The parts of `scheme://credentials@authority/rest`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parts<'a> {
    pub(super) scheme: &'a str,
    /// With the `@` at its end, or empty.
    pub(super) credentials: &'a str,
    /// Host and port; a path in `redis+unix:///path`.
    pub(super) authority: &'a str,
    /// From the `/` or `?` on, or empty.
    pub(super) rest: &'a str,
}

/// Splits a URL; `None` if it has no scheme.
pub(super) fn split(url: &str) -> Option<Parts<'_>> {
    let (scheme, rest) = url.split_once("://")?;
    let end = if scheme.ends_with("unix") { rest.find('?') } else { rest.find(['/', '?']) };
    let (authority, rest) = rest.split_at(end.unwrap_or(rest.len()));
    let (credentials, authority) = match authority.rfind('@') {
        Some(at) if !scheme.ends_with("unix") => authority.split_at(at + 1),
        _ => ("", authority),
    };
    Some(Parts { scheme, credentials, authority, rest })
}

/// The value of a parameter of the query in `rest`, still encoded.
pub(super) fn parameter<'a>(rest: &'a str, name: &str) -> Option<&'a str> {
    let (_, query) = rest.split_once('?')?;
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_a_meaning_in_a_url_is_encoded() {
        assert_eq!(encode("p@ss:w/é"), "p%40ss%3Aw%2F%C3%A9");
    }

    #[test]
    fn urls_come_apart() {
        let parts = split("rediss://me:p%40@localhost:1/2?x=y").unwrap();
        assert_eq!(
            parts,
            Parts {
                scheme: "rediss",
                credentials: "me:p%40@",
                authority: "localhost:1",
                rest: "/2?x=y"
            }
        );
        let parts = split("redis+unix:///a/b@c?db=3&pass=x").unwrap();
        assert_eq!((parts.credentials, parts.authority), ("", "/a/b@c"));
        assert_eq!(parameter(parts.rest, "pass"), Some("x"));
        assert_eq!(parameter(parts.rest, "user"), None);
        assert_eq!(split("127.0.0.1:6379"), None);
    }
}
