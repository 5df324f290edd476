//! What a request knows its organisation by, and the cache keys made of it.
//!
//! A key is made of checked parts only. A slug has no colon, so that no slug can be taken for the
//! keys under `org:id:` and `org:host:`; nothing has a character that could mean more than itself.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::model::Org;

/// The longest slug, in bytes.
pub const LONGEST_SLUG: usize = 63;
/// The longest host name, in bytes.
pub const LONGEST_HOST: usize = 253;

/// Why something is no slug, host or UUID; says what would be right.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("it must be {wanted}")]
pub struct Malformed {
    wanted: &'static str,
}

/// An organisation's short name: 1 to 63 of `a`–`z`, `0`–`9` and `-`, no `-` at either end.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Slug(String);

impl Slug {
    /// The slug as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Slug {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let fits = text.len() <= LONGEST_SLUG && is_label(text, |byte| byte.is_ascii_lowercase());
        if fits { Ok(Self(text.to_owned())) } else { Err(Malformed { wanted: SLUG }) }
    }
}

/// A host name in lower case, without port and final dot.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Host(String);

impl Host {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Host {
    /// Reads a name as it stands in a `Host` header, in any case, a port and a final dot included.
    ///
    /// # Errors
    ///
    /// If it is no host name.
    pub fn from_header(text: &str) -> Result<Self, Malformed> {
        let name = match text.split_once(':') {
            None => text,
            Some((name, port)) if port.parse::<u16>().is_ok() => name,
            Some(_) => return Err(Malformed { wanted: HOST_HEADER }),
        };
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        name.parse().map_err(|Malformed { .. }| Malformed { wanted: HOST_HEADER })
    }
}

impl FromStr for Host {
    type Err = Malformed;

    fn from_str(name: &str) -> Result<Self, Malformed> {
        let label =
            |label: &str| label.len() <= 63 && is_label(label, |byte| byte.is_ascii_lowercase());
        let fits = name.len() <= LONGEST_HOST && name.split('.').all(label);
        if fits { Ok(Self(name.to_owned())) } else { Err(Malformed { wanted: HOST }) }
    }
}

const SLUG: &str = "1 to 63 lower-case letters, digits and hyphens, such as acme";
const HOST: &str = "a host name in lower case without a port, such as acme.example.com";
const HOST_HEADER: &str = "a host name, with or without a port, such as acme.example.com";
const ID: &str = "a UUID, such as 00000000-0000-4000-8000-000000000001";

/// Letters, digits and hyphens, with something else than a hyphen at both ends.
fn is_label(text: &str, letter: impl Fn(u8) -> bool) -> bool {
    let inner = |byte: u8| letter(byte) || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

macro_rules! text {
    ($type:ident) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl TryFrom<String> for $type {
            type Error = Malformed;
            fn try_from(text: String) -> Result<Self, Malformed> {
                text.parse()
            }
        }
        impl From<$type> for String {
            fn from(text: $type) -> Self {
                text.0
            }
        }
    };
}
text!(Slug);
text!(Host);

/// What a request asks for its organisation by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Identity {
    /// By UUID, from `X-Tenant-ID`.
    Id(Uuid),
    /// By slug, from `X-Org-Slug`.
    Slug(Slug),
    /// By host, from the URL or `Host`.
    Host(Host),
}

impl Identity {
    /// The key under which the organisation is cached for those who ask like this.
    #[must_use]
    pub fn key(&self) -> String {
        match self {
            Self::Id(id) => format!("org:id:{id}"),
            Self::Slug(slug) => format!("org:{slug}"),
            Self::Host(host) => format!("org:host:{host}"),
        }
    }

    /// What `key` is the key of, if it is one of an organisation.
    #[must_use]
    pub fn from_key(key: &str) -> Option<Self> {
        let rest = key.strip_prefix("org:")?;
        match rest.split_once(':') {
            Some(("id", id)) => parse_id(id).ok().map(Self::Id),
            Some(("host", host)) => host.parse().ok().map(Self::Host),
            Some(_) => None,
            None => rest.parse().ok().map(Self::Slug),
        }
        .filter(|identity| identity.key() == key)
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(f, "the id {id}"),
            Self::Slug(slug) => write!(f, "the slug {slug}"),
            Self::Host(host) => write!(f, "the host {host}"),
        }
    }
}

/// Reads an `X-Tenant-ID`.
///
/// # Errors
///
/// If it is no UUID.
pub fn parse_id(text: &str) -> Result<Uuid, Malformed> {
    Uuid::parse_str(text).map_err(|_| Malformed { wanted: ID })
}

/// Every key under which `org` may be cached.
#[must_use]
pub fn keys_of(org: &Org) -> Vec<String> {
    let mut keys = vec![Identity::Slug(org.slug.clone()).key(), Identity::Id(org.id).key()];
    keys.extend(org.hosts.iter().map(|host| Identity::Host(host.clone()).key()));
    keys
}

/// The key of a user.
#[must_use]
pub fn user_key(id: Uuid) -> String {
    format!("user:{id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slug_cannot_be_taken_for_another_key() {
        for text in [
            "id:00000000-0000-4000-8000-000000000001",
            "host:acme.example.com",
            "acme:*",
            "*",
            "ac me",
            "acme\n",
            "ACME",
            "-acme",
            "acme-",
            "",
            "ac.me",
            "äcme",
        ] {
            assert!(text.parse::<Slug>().is_err(), "{text:?}");
        }
        assert!("a".repeat(63).parse::<Slug>().is_ok());
        assert!("a".repeat(64).parse::<Slug>().is_err());
        // Words of the other keys are slugs like any other.
        let key = |slug: &str| Identity::Slug(slug.parse().unwrap()).key();
        assert_eq!([key("id"), key("host"), key("acme")], ["org:id", "org:host", "org:acme"]);
    }

    #[test]
    fn keys_are_read_back() {
        let id = Identity::Id(Uuid::from_u128(7));
        let slug = Identity::Slug("acme".parse().unwrap());
        let host = Identity::Host("acme.example".parse().unwrap());
        for identity in [id, slug, host] {
            assert_eq!(Identity::from_key(&identity.key()), Some(identity));
        }
        for key in ["org:", "org:id:7", "org:host:", "org:host:ACME", "user:acme", "org:a:b"] {
            assert_eq!(Identity::from_key(key), None, "{key}");
        }
    }

    #[test]
    fn hosts_have_one_spelling() {
        for text in ["acme.example.com", "ACME.example.COM:8080", "acme.example.com."] {
            assert_eq!(Host::from_header(text).unwrap().as_str(), "acme.example.com", "{text}");
        }
        for text in
            ["", ".", "a..b", "a b", "a:b", "a:1:2", "[::1]:80", "*", "a_b", "-a", "a.com:99999"]
        {
            assert!(Host::from_header(text).is_err(), "{text:?}");
        }
        for text in ["acme.example.com:80", "ACME.example.com", "acme.example.com."] {
            assert!(text.parse::<Host>().is_err(), "only a request may say it so: {text}");
        }
        assert!(format!("{}.com", "a".repeat(64)).parse::<Host>().is_err());
        assert!(["a"; 130].join(".").parse::<Host>().is_err());
    }

    #[test]
    fn all_keys_of_an_organisation() {
        let org = Org {
            id: Uuid::from_u128(7),
            slug: "acme".parse().unwrap(),
            name: "Acme".to_owned(),
            plan: "free".to_owned(),
            active: true,
            hosts: vec!["a.example".parse().unwrap(), "b.example".parse().unwrap()],
            version: 1,
        };
        assert_eq!(
            keys_of(&org),
            [
                "org:acme",
                "org:id:00000000-0000-0000-0000-000000000007",
                "org:host:a.example",
                "org:host:b.example"
            ]
        );
    }
}
