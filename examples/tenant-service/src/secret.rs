//! Tokens: read from a request, known by their hash alone from then on.

use std::fmt;
use std::str::FromStr;

use ring::digest::{SHA256, digest};

/// What a bearer token may have at most, in bytes.
pub const LONGEST_TOKEN: usize = 512;

/// The SHA-256 of a token: what is stored, cached and compared in place of it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// The hash of `token`.
    #[must_use]
    pub fn of(token: &str) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        Self(hash)
    }

    /// The key under which the token is cached.
    #[must_use]
    pub fn token_key(&self) -> String {
        format!("token:{self}")
    }

    /// The key of the session that the token was exchanged for, and of the lock around the exchange.
    #[must_use]
    pub fn session_key(&self) -> String {
        format!("session:{self}")
    }
}

impl fmt::Display for TokenHash {
    /// In hexadecimal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TokenHash {
    /// Its beginning: enough to tell two apart in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(f, "TokenHash({a:02x}{b:02x}{c:02x}{d:02x}…)")
    }
}

impl FromStr for TokenHash {
    type Err = ();

    /// Reads what `Display` writes.
    fn from_str(text: &str) -> Result<Self, ()> {
        let mut hash = [0; 32];
        let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return Err(()) };
        if pairs.len() != hash.len() {
            return Err(());
        }
        for (byte, pair) in hash.iter_mut().zip(pairs) {
            let pair = std::str::from_utf8(pair).map_err(drop)?;
            *byte = u8::from_str_radix(pair, 16).map_err(drop)?;
        }
        Ok(Self(hash))
    }
}

/// A key as it may stand in a log: of a token's hash only its beginning.
pub(crate) fn shortened(key: &str) -> String {
    match key.split_once(':') {
        Some((kind, hash)) if hash.parse::<TokenHash>().is_ok() => {
            format!("{kind}:{}…", &hash[..8])
        }
        _ => key.to_owned(),
    }
}

/// The token in an `Authorization` header, as its hash: `None` if it is no bearer token of 1 to 512
/// visible ASCII characters.
#[must_use]
pub fn bearer(header: &str) -> Option<TokenHash> {
    let (scheme, token) = header.split_once(' ')?;
    let token = token.trim_start_matches(' ');
    let good = scheme.eq_ignore_ascii_case("bearer")
        && !token.is_empty()
        && token.len() <= LONGEST_TOKEN
        && token.bytes().all(|byte| byte.is_ascii_graphic());
    good.then(|| TokenHash::of(token))
}

/// A setting that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides `text`.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// What is hidden.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether `header` is `Bearer` and this secret. It compares hashes, so that the time it takes says
    /// nothing about the secret.
    #[must_use]
    pub fn allows(&self, header: Option<&str>) -> bool {
        header.and_then(bearer).is_some_and(|given| given == TokenHash::of(&self.0))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_that_of_the_standard() {
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let hash = TokenHash::of("abc");
        assert_eq!(hash.to_string(), abc);
        assert_eq!(abc.parse(), Ok(hash.clone()));
        assert_eq!(hash.token_key(), format!("token:{abc}"));
        for text in ["", "ba78", &abc[1..], &abc.replace('b', "x"), &format!("{abc}00")] {
            assert_eq!(text.parse::<TokenHash>(), Err(()), "{text}");
        }
    }

    #[test]
    fn a_log_has_the_beginning_of_a_hash() {
        assert_eq!(shortened(&TokenHash::of("abc").session_key()), "session:ba7816bf…");
        for key in ["org:acme", "org:host:acme.example.com", "token:ä", "", ":"] {
            assert_eq!(shortened(key), key);
        }
    }

    #[test]
    fn only_bearer_tokens_are_read() {
        let abc = Some(TokenHash::of("abc"));
        assert_eq!(bearer("Bearer abc"), abc);
        assert_eq!(bearer("bearer  abc"), abc);
        for header in ["", "Bearer", "Bearer ", "Basic abc", "abc", "Bearer a b", "Bearer ä"] {
            assert_eq!(bearer(header), None, "{header:?}");
        }
        assert!(bearer(&format!("Bearer {}", "a".repeat(512))).is_some());
        assert!(bearer(&format!("Bearer {}", "a".repeat(513))).is_none());
    }

    #[test]
    fn secrets_are_not_shown() {
        let secret = Secret::new("open-sesame");
        assert_eq!(format!("{secret:?}"), "Secret(…)");
        assert!(secret.allows(Some("Bearer open-sesame")));
        assert!(!secret.allows(Some("Bearer open-sesam")));
        assert!(!secret.allows(None));
    }
}
