//! The changes: one transaction each.

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use serde::Deserialize;
use uuid::Uuid;

use super::{ChangeError, reads};
use crate::identity::{Host, Identity};
use crate::model::{Org, Token, User};
use crate::secret::TokenHash;

/// What is to be another about an organisation; what is left out stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrgChange {
    /// What it has booked.
    pub plan: Option<String>,
    /// Its name for people.
    pub name: Option<String>,
    /// Whether it is served.
    pub active: Option<bool>,
    /// All its hosts from now on.
    pub hosts: Option<Vec<Host>>,
}

/// What was revoked.
#[derive(Clone, Debug)]
pub struct Revoked {
    /// The token as it is now.
    pub token: Token,
    /// What it is cached by.
    pub hash: TokenHash,
}

pub(super) fn org(
    connection: &mut Connection,
    identity: &Identity,
    change: &OrgChange,
) -> Result<(Org, Org), ChangeError> {
    let OrgChange { plan, name, active, hosts } = change;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let not_found = || ChangeError::NotFound("organisation");
    let before = reads::org(&transaction, identity)?.ok_or_else(not_found)?;
    let id = before.id.to_string();
    transaction
        .prepare_cached(
            "UPDATE organisations SET version = version + 1, plan = ifnull(?2, plan),
                name = ifnull(?3, name), active = ifnull(?4, active) WHERE id = ?1",
        )?
        .execute(params![id, plan, name, active])?;
    if let Some(hosts) = hosts {
        transaction.prepare_cached("DELETE FROM hosts WHERE organisation = ?1")?.execute([&id])?;
        for host in hosts {
            let added = transaction
                .prepare_cached(
                    "INSERT INTO hosts (host, organisation) VALUES (?1, ?2)
                     ON CONFLICT (host) DO UPDATE SET host = host WHERE organisation = ?2",
                )?
                .execute([host.as_str(), &id])?;
            if added == 0 {
                return Err(ChangeError::HostTaken(host.clone()));
            }
        }
    }
    let after = reads::org(&transaction, identity)?.ok_or_else(not_found)?;
    transaction.commit()?;
    Ok((before, after))
}

pub(super) fn role(connection: &mut Connection, id: Uuid, role: &str) -> Result<User, ChangeError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let not_found = || ChangeError::NotFound("user");
    let user = reads::user(&transaction, id)?.ok_or_else(not_found)?;
    let known = transaction
        .prepare_cached("SELECT 1 FROM roles WHERE organisation = ?1 AND name = ?2")?
        .exists([&user.org.to_string(), role])?;
    if !known {
        return Err(ChangeError::UnknownRole(role.to_owned()));
    }
    transaction
        .prepare_cached("UPDATE users SET role = ?2, version = version + 1 WHERE id = ?1")?
        .execute([&id.to_string(), role])?;
    let user = reads::user(&transaction, id)?.ok_or_else(not_found)?;
    transaction.commit()?;
    Ok(user)
}

pub(super) fn revoke(connection: &mut Connection, id: Uuid) -> Result<Revoked, ChangeError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let id = id.to_string();
    let hash = transaction
        .prepare_cached("UPDATE tokens SET revoked = 1 WHERE id = ?1 RETURNING hash")?
        .query_row([&id], |row| row.get::<_, String>(0))
        .optional()?;
    let token = reads::token_where(&transaction, "t.id = ?1", &id)?;
    transaction.commit()?;
    let not_found = || ChangeError::NotFound("token");
    let hash = hash.and_then(|hash| hash.parse().ok()).ok_or_else(not_found)?;
    Ok(Revoked { token: token.ok_or_else(not_found)?, hash })
}
