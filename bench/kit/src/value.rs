//! What is cached: an organisation, alone in 150 bytes of JSON or with its members in 4 KiB.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How long it lives: longer than any run.
pub const TTL: Duration = Duration::from_secs(3600);
/// How long a call may take. A timer costs the same however long it is, and machines stand still.
pub const BUDGET: Duration = Duration::from_secs(5);
/// So many make 4 KiB.
const MEMBERS: u32 = 60;

/// As applications have them: some numbers, some texts, a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
struct Member {
    id: u32,
    name: String,
    role: String,
}

/// How large it is, encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// 150 bytes.
    Small,
    /// 4 KiB.
    Large,
}

impl Size {
    /// As it stands in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Small => "150 B",
            Self::Large => "4 KiB",
        }
    }

    /// The organisation with that number.
    #[must_use]
    pub fn org(self, id: usize) -> Org {
        let members = match self {
            Self::Small => 0,
            Self::Large => MEMBERS,
        };
        Org { members: (0..members).map(member).collect(), ..org(id) }
    }
}

/// The small organisation with that number.
#[must_use]
pub fn org(id: usize) -> Org {
    Org {
        id,
        name: format!("Organisation number {id:03}"),
        plan: "enterprise".to_owned(),
        region: "eu-west-1".to_owned(),
        billing: format!("b{id:03}@org.io"),
        features: ["sso", "audit-log", "api"].map(str::to_owned).to_vec(),
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
