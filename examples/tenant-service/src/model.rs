//! What the service knows of organisations, users and tokens: what the database says and the cache
//! keeps.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::identity::{Host, Slug};

/// An organisation, as every request needs it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Org {
    /// Its identity for good.
    pub id: Uuid,
    /// Its short name in URLs and headers.
    pub slug: Slug,
    /// Its name for people.
    pub name: String,
    /// What it has booked.
    pub plan: String,
    /// Whether it is served; its requests are refused if not.
    pub active: bool,
    /// The names it is reached under.
    pub hosts: Vec<Host>,
    /// Grows by one with each change: of two answers the one with the higher version is the later.
    pub version: u64,
}

/// A user and what the user may do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The user's identity for good.
    pub id: Uuid,
    /// The organisation that the user belongs to.
    pub org: Uuid,
    /// Where mail reaches the user.
    pub email: String,
    /// The user's role in the organisation.
    pub role: String,
    /// What the role allows, such as `invoices:read`.
    pub permissions: Vec<String>,
    /// Grows by one with each change.
    pub version: u64,
}

/// A token, without what makes it a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// What it is called where the token itself must not be.
    pub id: Uuid,
    /// Who it stands for.
    pub user: Uuid,
    /// The organisation of that user.
    pub org: Uuid,
    /// When it ends, in seconds since 1970.
    pub expires_at: u64,
    /// Whether it was revoked.
    pub revoked: bool,
}

impl Token {
    /// Whether it may be used at `now`, in seconds since 1970.
    #[must_use]
    pub fn is_good(&self, now: u64) -> bool {
        !self.revoked && now < self.expires_at
    }
}
