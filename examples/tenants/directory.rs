//! Which organisations there are, and by what each can be looked up.

use uuid::Uuid;

use crate::service::Identity;

/// An organisation as those who ask for it know it.
#[derive(Debug)]
pub(crate) struct Organisation {
    pub(crate) uuid: Uuid,
    pub(crate) slug: String,
    pub(crate) host: String,
    pub(crate) users: u64,
}

impl Organisation {
    /// Everything it can be looked up by.
    pub(crate) fn identities(&self) -> [Identity; 3] {
        [By::Slug, By::Host, By::Uuid].map(|by| self.identity(by))
    }

    pub(crate) fn identity(&self, by: By) -> Identity {
        match by {
            By::Slug => Identity::Slug(self.slug.clone()),
            By::Host => Identity::Host(self.host.clone()),
            By::Uuid => Identity::Uuid(self.uuid),
        }
    }
}

/// By what an organisation is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum By {
    Slug,
    Host,
    Uuid,
}

impl By {
    /// Each in turn.
    pub(crate) fn nth(n: u32) -> Self {
        match n % 3 {
            0 => Self::Slug,
            1 => Self::Host,
            _ => Self::Uuid,
        }
    }
}

/// All organisations, in the order in which they were made.
#[derive(Debug)]
pub(crate) struct Directory(pub(crate) Vec<Organisation>);

impl Directory {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn users(&self) -> u64 {
        self.0.iter().map(|organisation| organisation.users).sum()
    }
}
