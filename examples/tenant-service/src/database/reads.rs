//! The lookups: one query each.

use std::error::Error;
use std::str::FromStr;

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, ToSql};
use uuid::Uuid;

use crate::identity::Identity;
use crate::model::{Org, Token, User};
use crate::secret::TokenHash;

/// Columns of an organisation, with its hosts.
const ORG: &str = "
    SELECT o.id, o.slug, o.name, o.plan, o.active, o.version,
        (SELECT json_group_array(host) FROM
            (SELECT host FROM hosts WHERE organisation = o.id ORDER BY host))
    FROM organisations AS o";

/// Columns of a user, with what the role allows.
const USER: &str = "
    SELECT u.id, u.organisation, u.email, u.role, u.version,
        (SELECT json_group_array(name) FROM (SELECT name FROM permissions AS p
            WHERE p.organisation = u.organisation AND p.role = u.role ORDER BY name))
    FROM users AS u";

pub(super) fn org(connection: &Connection, identity: &Identity) -> rusqlite::Result<Option<Org>> {
    let (condition, value): (_, String) = match identity {
        Identity::Id(id) => ("o.id = ?1", id.to_string()),
        Identity::Slug(slug) => ("o.slug = ?1", slug.to_string()),
        Identity::Host(host) => {
            ("o.id = (SELECT organisation FROM hosts WHERE host = ?1)", host.to_string())
        }
    };
    let query = format!("{ORG} WHERE {condition}");
    connection.prepare_cached(&query)?.query_row([value], read_org).optional()
}

pub(super) fn active_orgs(connection: &Connection) -> rusqlite::Result<Vec<Org>> {
    let query = format!("{ORG} WHERE o.active ORDER BY o.slug");
    connection.prepare_cached(&query)?.query_map([], read_org)?.collect()
}

fn read_org(row: &Row<'_>) -> rusqlite::Result<Org> {
    Ok(Org {
        id: parsed(row, 0)?,
        slug: parsed(row, 1)?,
        name: row.get(2)?,
        plan: row.get(3)?,
        active: row.get(4)?,
        version: number(row, 5)?,
        hosts: list(row, 6)?,
    })
}

pub(super) fn user(connection: &Connection, id: Uuid) -> rusqlite::Result<Option<User>> {
    let query = format!("{USER} WHERE u.id = ?1");
    connection.prepare_cached(&query)?.query_row([id.to_string()], read_user).optional()
}

pub(super) fn users_of(connection: &Connection, org: Uuid) -> rusqlite::Result<Vec<User>> {
    let query = format!("{USER} WHERE u.organisation = ?1 ORDER BY u.email");
    connection.prepare_cached(&query)?.query_map([org.to_string()], read_user)?.collect()
}

pub(super) fn token(connection: &Connection, hash: &TokenHash) -> rusqlite::Result<Option<Token>> {
    token_where(connection, "t.hash = ?1", &hash.to_string())
}

/// The token that a condition with one parameter selects.
pub(super) fn token_where(
    connection: &Connection,
    condition: &'static str,
    value: &dyn ToSql,
) -> rusqlite::Result<Option<Token>> {
    let query = format!(
        "SELECT t.id, t.user, u.organisation, t.expires_at, t.revoked
         FROM tokens AS t JOIN users AS u ON u.id = t.user WHERE {condition}"
    );
    let read = |row: &Row<'_>| {
        Ok(Token {
            id: parsed(row, 0)?,
            user: parsed(row, 1)?,
            org: parsed(row, 2)?,
            expires_at: number(row, 3)?,
            revoked: row.get(4)?,
        })
    };
    connection.prepare_cached(&query)?.query_row([value], read).optional()
}

fn read_user(row: &Row<'_>) -> rusqlite::Result<User> {
    Ok(User {
        id: parsed(row, 0)?,
        org: parsed(row, 1)?,
        email: row.get(2)?,
        role: row.get(3)?,
        version: number(row, 4)?,
        permissions: list(row, 5)?,
    })
}

/// Text that is more than text.
pub(super) fn parsed<T>(row: &Row<'_>, column: usize) -> rusqlite::Result<T>
where
    T: FromStr<Err: Error + Send + Sync + 'static>,
{
    let text: String = row.get(column)?;
    text.parse().map_err(|error| unfit(column, error))
}

/// A number that is never negative.
fn number(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let number: i64 = row.get(column)?;
    u64::try_from(number).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, number))
}

fn list<T: serde::de::DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<Vec<T>> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text).map_err(|error| unfit(column, error))
}

fn unfit(column: usize, error: impl Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
}
