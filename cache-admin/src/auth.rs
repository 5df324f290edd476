//! Who may do what: named bearer tokens, compared in constant time.

use std::fmt;
use std::ops::BitOr;
use std::sync::Arc;

use axum::http::{HeaderMap, header};
use cache_services::{CacheError, ErrorKind};
use ring::digest::{SHA256, digest};
use subtle::{ConditionallySelectable, ConstantTimeEq};

/// The longest token, in bytes.
const LONGEST: usize = 1_024;
/// What a token shorter than this is good for is said in the log.
const SHORT: usize = 16;

/// What the bearer of a token may do. No right implies another.
///
/// ```
/// use cache_admin::Rights;
///
/// let rights = Rights::READ | Rights::WRITE;
/// assert!(rights.contains(Rights::READ) && !rights.contains(Rights::VALUES));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rights(u8);

impl Rights {
    /// No right at all.
    pub const NONE: Self = Self(0);
    /// To see figures, where entries are held, locks, health and metrics.
    pub const READ: Self = Self(1);
    /// To invalidate, clear, warm up, and take locks away.
    pub const WRITE: Self = Self(2);
    /// To see cached values, which may be secrets. They are shown with the entry, so this takes
    /// [`READ`](Self::READ) too.
    pub const VALUES: Self = Self(4);
    /// All of these.
    pub const ALL: Self = Self(7);

    /// Whether all of `other` is among these.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Rights {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// The tokens that the admin API knows. Without any, as it is made, everything is refused.
///
/// A request names its token in the header `Authorization: Bearer <token>`. One without a token, with
/// a wrong one, or with several headers gets the same answer after the same work, whatever the
/// token had in common with a right one.
///
/// Only digests of tokens are kept, and `Debug` shows only names and rights.
///
/// ```
/// use cache_admin::{AdminAuth, Rights};
///
/// let auth = AdminAuth::new()
///     .with_token("dashboard", "5NYyMEwXGcXPtpBb", Rights::READ)?
///     .with_token("operator", "kvZs3bMzsdWkzvtc", Rights::READ | Rights::WRITE)?;
/// # let _ = auth; Ok::<_, cache_services::CacheError>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct AdminAuth {
    tokens: Vec<Token>,
}

#[derive(Clone)]
struct Token {
    caller: Caller,
    /// SHA-256.
    digest: Box<[u8]>,
}

/// Who has sent a request.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) name: Arc<str>,
    pub(crate) rights: Rights,
}

impl AdminAuth {
    /// No tokens: everything is refused.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with one token more. `name` is what audit events call its bearer.
    ///
    /// A token of less than 16 bytes is taken, with a warning in the log: it can be guessed.
    ///
    /// # Errors
    ///
    /// [`Config`](ErrorKind::Config) if the token is empty, longer than 1,024 bytes or has anything
    /// but visible ASCII characters in it, which no header could carry; if the name is empty or
    /// taken, or the token is known already. The token itself is not part of the error.
    pub fn with_token(
        mut self,
        name: impl Into<String>,
        token: &str,
        rights: Rights,
    ) -> Result<Self, CacheError> {
        let name: String = name.into();
        let config = |what: &str| {
            Err(CacheError::new(ErrorKind::Config, format!("the admin token {name:?} {what}")))
        };
        if name.is_empty() {
            return config("has no name: audit events are to say who acted");
        }
        if token.is_empty() || token.len() > LONGEST || !token.bytes().all(|c| c.is_ascii_graphic())
        {
            return config("is to have 1 to 1,024 visible ASCII characters and no blanks");
        }
        let digest = Box::from(digest(&SHA256, token.as_bytes()).as_ref());
        if self.tokens.iter().any(|known| *known.caller.name == *name || known.digest == digest) {
            return config("is there already, by name or by token");
        }
        if token.len() < SHORT {
            tracing::warn!(name, "an admin token is so short that it can be guessed");
        }
        self.tokens.push(Token { caller: Caller { name: name.into(), rights }, digest });
        Ok(self)
    }

    /// Whose token the headers bear. What is done does not depend on how far a token is right.
    pub(crate) fn identify(&self, headers: &HeaderMap) -> Option<&Caller> {
        // No token has the digest of nothing, so that a missing one is like a wrong one.
        let presented = digest(&SHA256, bearer(headers).unwrap_or_default());
        let mut found = u64::MAX;
        for (at, token) in self.tokens.iter().enumerate() {
            found.conditional_assign(&(at as u64), token.digest.ct_eq(presented.as_ref()));
        }
        self.tokens.get(usize::try_from(found).ok()?).map(|token| &token.caller)
    }
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut all = headers.get_all(header::AUTHORIZATION).into_iter();
    let (Some(only), None) = (all.next(), all.next()) else { return None };
    let (scheme, token) = only.as_bytes().split_at_checked("Bearer ".len())?;
    (scheme.eq_ignore_ascii_case(b"Bearer ") && token.len() <= LONGEST).then_some(token)
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("caller", &self.caller).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    fn auth() -> AdminAuth {
        let auth = AdminAuth::new().with_token("reader", TOKEN, Rights::READ).unwrap();
        auth.with_token("writer", "fedcba9876543210", Rights::WRITE).unwrap()
    }

    fn named(values: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, value.parse().unwrap());
        }
        auth().identify(&headers).map(|caller| caller.name.to_string())
    }

    #[test]
    fn the_bearer_of_a_token_is_known_by_name() {
        assert_eq!(named(&[&format!("Bearer {TOKEN}")]).as_deref(), Some("reader"));
        assert_eq!(named(&["bearer fedcba9876543210"]).as_deref(), Some("writer"));
    }

    #[test]
    fn everybody_else_is_nobody() {
        let right = format!("Bearer {TOKEN}");
        let cases: [&[&str]; 10] = [
            &[],
            &[""],
            &["Bearer"],
            &["Bearer "],
            &["Bearer 0123456789abcdeF"],
            &[&format!("Bearer {TOKEN}x")],
            &[&format!("Bearer  {TOKEN}")],
            &[&format!("Basic {TOKEN}")],
            &[TOKEN],
            &[&right, &right],
        ];
        for case in cases {
            assert_eq!(named(case), None, "{case:?}");
        }
        assert_eq!(named(&[&format!("Bearer {}", "x".repeat(100_000))]), None);
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, right.parse().unwrap());
        assert!(AdminAuth::new().identify(&headers).is_none(), "nobody is known");
    }

    #[test]
    fn bad_tokens_and_names_are_refused_and_no_token_is_shown() {
        let long = "x".repeat(LONGEST + 1);
        for (name, token) in [
            ("a", ""),
            ("a", " "),
            ("a", "with blank"),
            ("a", "line\nbreak"),
            ("a", "schlüssel"),
            ("a", &long),
            ("", "s3cret-s3cret-s3cret"),
            ("reader", "s3cret-s3cret-s3cret"),
            ("other", TOKEN),
        ] {
            let error = auth().with_token(name, token, Rights::ALL).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{name} {token}");
            let shown = error.to_string();
            assert!(!shown.contains(TOKEN) && !shown.contains("s3cret-"), "{shown}");
        }
        let shown = format!("{:?}", auth());
        assert!(shown.contains("reader") && !shown.contains(TOKEN), "{shown}");
    }
}
