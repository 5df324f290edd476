//! What may be shown of a Redis URL: scheme, host and port, never what could be a password.

use std::fmt;

const SCHEMES: [&str; 10] = [
    "redis",
    "rediss",
    "valkey",
    "valkeys",
    "unix",
    "redis+unix",
    "redis-cluster",
    "rediss-cluster",
    "redis-sentinel",
    "rediss-sentinel",
];

/// A URL with everything left out that could be secret.
///
/// A part is shown only if it cannot be taken for anything else: passwords that were not
/// percent-encoded may hold any of the characters that separate the parts of a URL, and then
/// nothing after the scheme is shown.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    scheme: Option<&'static str>,
    address: Option<String>,
}

impl Shown {
    pub(crate) fn of(url: &str) -> Self {
        let unknown = Self { scheme: None, address: None };
        let Some((scheme, rest)) = url.trim().split_once("://") else {
            return unknown;
        };
        let known = SCHEMES.into_iter().find(|known| known.eq_ignore_ascii_case(scheme));
        let Some(scheme) = known else { return unknown };
        Self { scheme: Some(scheme), address: address(rest) }
    }
}

fn address(rest: &str) -> Option<String> {
    let (authority, tail) = match rest.find(['/', '?', '#']) {
        Some(end) => rest.split_at(end),
        None => (rest, ""),
    };
    if tail.contains('@') {
        return None;
    }
    let address = authority.rsplit_once('@').map_or(authority, |(_credentials, address)| address);
    let (host, port) = match address.rsplit_once(':') {
        // The last colon of a bare IPv6 address separates no port.
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (address, None),
    };
    let host_fits = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(v6) => v6.bytes().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.')),
        None => host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)),
    };
    let port_fits = port.is_none_or(|port| port.parse::<u16>().is_ok());
    (!host.is_empty() && host_fits && port_fits).then(|| address.to_owned())
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.scheme, &self.address) {
            (None, _) => f.write_str("a URL that is not shown"),
            (Some(scheme), None) => write!(f, "{scheme}://…"),
            (Some(scheme), Some(address)) => write!(f, "{scheme}://{address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scheme_host_and_port_are_shown() {
        for (url, shown) in [
            ("redis://localhost", "redis://localhost"),
            ("REDIS://localhost:6379/3", "redis://localhost:6379"),
            ("rediss://app:s3cret@cache.example.org:6380/0", "rediss://cache.example.org:6380"),
            ("redis://:s3cret@[::1]:6379", "redis://[::1]:6379"),
            ("redis://[fe80::1]", "redis://[fe80::1]"),
            ("redis-cluster://h1:7000?node=h2:7001", "redis-cluster://h1:7000"),
            ("redis+unix:///run/redis.sock?pass=s3cret", "redis+unix://…"),
        ] {
            assert_eq!(Shown::of(url).to_string(), shown, "{url}");
        }
    }

    #[test]
    fn what_could_be_a_password_is_not() {
        for url in [
            "s3cret",
            "s3cret://host",
            "redis://:s3cret",
            "redis://app:s3cret",
            "redis://:s3/cret@host:6379",
            "redis://:s3cret/x@host:6379",
            "redis://app:12345/s3cret@host",
            "redis://app:s3#cret?x@host",
            "redis://a:b@s3cret!@",
            "redis://host:6379:s3cret",
            "redis://",
            "",
        ] {
            let shown = Shown::of(url).to_string();
            assert!(!shown.contains("s3") && !shown.contains("cret"), "{url} → {shown}");
            assert!(!shown.contains("12345"), "{url} → {shown}");
        }
    }

    #[test]
    fn the_password_of_two_at_signs_is_left_out() {
        assert_eq!(Shown::of("redis://app:s3@cret@host:6379").to_string(), "redis://host:6379");
    }
}
