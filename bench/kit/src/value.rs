//! What is cached: an organisation, alone in 150 bytes of JSON or with as many members as it takes.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How long it lives: longer than any run.
pub const TTL: Duration = Duration::from_secs(3600);
/// How long a call may take. A timer costs the same however long it is, and machines stand still.
pub const BUDGET: Duration = Duration::from_secs(5);

/// As applications have them: some numbers, some texts, a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "rkyv", derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize))]
pub struct Org {
    /// By which readers see that they have got the right one.
    pub id: usize,
    name: String,
    plan: String,
    region: String,
    billing: String,
    features: Vec<String>,
    members: Vec<Member>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "rkyv", derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize))]
struct Member {
    id: u32,
    name: String,
    role: String,
}

/// How large it is, encoded: so many bytes of JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    bytes: usize,
    /// Of the organisation alone.
    features: usize,
    members: u32,
    /// What its name has more than by itself, and less.
    more: usize,
    less: usize,
}

impl Size {
    /// What applications have most of.
    pub const SMALL: usize = 150;
    /// What some have too.
    pub const LARGE: usize = 4096;
    /// There is none smaller.
    pub const LEAST: usize = 120;
    /// There is none larger: caches of ten thousand of them, encoded and decoded, fit into a few GiB, and a
    /// run ends.
    pub const MOST: usize = 64 * 1024;

    /// Of so many bytes, as long as the numbers of organisations have four digits; with fewer it is a
    /// few bytes less.
    ///
    /// # Panics
    ///
    /// Of fewer than [`LEAST`](Self::LEAST).
    #[must_use]
    pub fn of(bytes: usize) -> Self {
        assert!(bytes >= Self::LEAST, "a value has {} bytes at least", Self::LEAST);
        let alone = Self { bytes, features: FEATURES.len(), members: 0, more: 0, less: 0 };
        let with = |members| Self { members, ..alone }.encoded();
        let mut size = alone;
        let room = bytes.saturating_sub(with(0));
        size.members = u32::try_from(room / (with(2) - with(1))).unwrap_or(u32::MAX);
        // Those with long numbers take a byte or two more, and commas stand between them.
        while size.members > 0 && size.encoded() > bytes {
            size.members -= size.members.div_ceil(100);
        }
        while size.features > 0 && size.encoded() > bytes + LESS {
            size.features -= 1;
        }
        let encoded = size.encoded();
        Self { more: bytes.saturating_sub(encoded), less: encoded.saturating_sub(bytes), ..size }
    }

    /// As it stands in tables.
    #[must_use]
    pub fn name(self) -> String {
        match self.bytes {
            bytes if bytes % 1024 == 0 => format!("{} KiB", bytes / 1024),
            bytes => format!("{bytes} B"),
        }
    }

    /// How many bytes.
    #[must_use]
    pub fn bytes(self) -> usize {
        self.bytes
    }

    /// The organisation with that number.
    #[must_use]
    pub fn org(self, id: usize) -> Org {
        let mut org = org(id);
        org.name.truncate(org.name.len() - self.less);
        org.name.extend(std::iter::repeat_n('x', self.more));
        org.features.truncate(self.features);
        org.members = (0..self.members).map(member).collect();
        org
    }

    fn encoded(self) -> usize {
        // What has no maps in it can be written down.
        serde_json::to_vec(&self.org(9_999)).map_or(0, |json| json.len())
    }
}

const FEATURES: [&str; 3] = ["sso", "audit-log", "api"];
/// So much can be taken off a name.
const LESS: usize = 16;

/// The small organisation with that number.
#[must_use]
pub fn org(id: usize) -> Org {
    Org {
        id,
        name: format!("Organisation {id:04}"),
        plan: "enterprise".to_owned(),
        region: "eu-west".to_owned(),
        billing: format!("b{id:04}@o.io"),
        features: FEATURES.map(str::to_owned).to_vec(),
        members: Vec::new(),
    }
}

fn member(id: u32) -> Member {
    let name = format!("Member number {id:03} of them all");
    Member { id, name, role: "maintainer".to_owned() }
}

/// The key of the organisation with that number.
#[must_use]
pub fn key(id: usize) -> String {
    format!("org:{id:08}")
}
