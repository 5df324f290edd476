//! What is in a new database. Everything follows from the number of an organisation, so that a load
//! generator or a test knows what to ask for without reading the database.

use rusqlite::{Connection, TransactionBehavior, params};
use uuid::Uuid;

use crate::secret::TokenHash;

/// The slug of an organisation that is there and not served.
pub const DORMANT: &str = "dormant";
/// What an organisation may have booked.
pub const PLANS: [&str; 3] = ["free", "team", "enterprise"];
/// From the one who may least to the one who may all. A user with number `n` begins with role `n`.
pub const ROLES: [&str; 3] = ["viewer", "editor", "owner"];

const PEOPLE: [&str; 3] = ["ada", "grace", "edsger"];
const THINGS: [&str; 2] = ["invoices", "members"];
const ACTIONS: [&str; 3] = ["read", "write", "delete"];
/// 1 January 2100: what is seeded lasts longer than what tries it.
const EXPIRES_AT: i64 = 4_102_444_800;
/// What `user_version` says of a file that has all this.
const VERSION: i64 = 1;

const SCHEMA: &str = "
    CREATE TABLE organisations (
        id TEXT PRIMARY KEY,
        slug TEXT NOT NULL UNIQUE CHECK (slug <> '' AND slug NOT GLOB '*[^a-z0-9-]*'),
        name TEXT NOT NULL,
        plan TEXT NOT NULL,
        active INTEGER NOT NULL,
        version INTEGER NOT NULL
    );
    CREATE TABLE hosts (
        host TEXT PRIMARY KEY CHECK (host <> '' AND host NOT GLOB '*[^a-z0-9.-]*'),
        organisation TEXT NOT NULL REFERENCES organisations
    );
    CREATE INDEX hosts_of_organisation ON hosts (organisation);
    CREATE TABLE roles (
        organisation TEXT NOT NULL REFERENCES organisations,
        name TEXT NOT NULL,
        PRIMARY KEY (organisation, name)
    );
    CREATE TABLE permissions (
        organisation TEXT NOT NULL,
        role TEXT NOT NULL,
        name TEXT NOT NULL,
        PRIMARY KEY (organisation, role, name),
        FOREIGN KEY (organisation, role) REFERENCES roles
    );
    CREATE TABLE users (
        id TEXT PRIMARY KEY,
        organisation TEXT NOT NULL REFERENCES organisations,
        email TEXT NOT NULL UNIQUE,
        role TEXT NOT NULL,
        version INTEGER NOT NULL,
        FOREIGN KEY (organisation, role) REFERENCES roles
    );
    CREATE INDEX users_of_organisation ON users (organisation);
    CREATE TABLE tokens (
        id TEXT PRIMARY KEY,
        hash TEXT NOT NULL UNIQUE,
        user TEXT NOT NULL REFERENCES users,
        expires_at INTEGER NOT NULL,
        revoked INTEGER NOT NULL
    );
";

/// Organisation number `n`, from 0; number 0 is `acme`.
#[must_use]
pub fn slug(n: u32) -> String {
    if n == 0 { "acme".to_owned() } else { format!("org-{n:04}") }
}

/// The UUID of organisation `n`.
#[must_use]
pub fn org_id(n: u32) -> Uuid {
    id(0x8000, n, 1)
}

/// The host of organisation `n`.
#[must_use]
pub fn host(n: u32) -> String {
    format!("{}.example.com", slug(n))
}

/// The UUID of user `who`, 0 to 2, of organisation `n`.
#[must_use]
pub fn user_id(n: u32, who: u32) -> Uuid {
    id(0x9000, n, who + 1)
}

/// The token of that user: for a demonstration only, as anyone can work it out.
#[must_use]
pub fn token(n: u32, who: u32) -> String {
    format!("demo-{}-{}", slug(n), PEOPLE[who as usize % PEOPLE.len()])
}

/// The UUID of that token.
#[must_use]
pub fn token_id(n: u32, who: u32) -> Uuid {
    id(0xA000, n, who + 1)
}

/// A UUID of version 4 in form, that can be read: what it is of, the organisation, which one.
fn id(kind: u16, n: u32, which: u32) -> Uuid {
    Uuid::from_fields(n, 0, 0x4000, &[(kind >> 8) as u8, 0, 0, 0, 0, 0, 0, which as u8])
}

/// Makes the tables and fills them, unless that is done. Of several that come at once the first does.
pub(super) fn fill_if_empty(
    connection: &mut Connection,
    organisations: u32,
) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version = transaction.query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0))?;
    if version == VERSION {
        return Ok(());
    }
    transaction.execute_batch(SCHEMA)?;
    for n in 0..organisations {
        organisation(&transaction, n, &slug(n), true)?;
    }
    organisation(&transaction, organisations, DORMANT, false)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()
}

fn organisation(connection: &Connection, n: u32, slug: &str, active: bool) -> rusqlite::Result<()> {
    let id = org_id(n).to_string();
    let plan = PLANS[n as usize % PLANS.len()];
    connection
        .prepare_cached(
            "INSERT INTO organisations (id, slug, name, plan, active, version)
             VALUES (?1, ?2, ?3, ?4, ?5, 1)",
        )?
        .execute(params![id, slug, format!("The {slug} company"), plan, active])?;
    connection
        .prepare_cached("INSERT INTO hosts (host, organisation) VALUES (?1, ?2)")?
        .execute(params![format!("{slug}.example.com"), id])?;
    for (rank, role) in ROLES.iter().enumerate() {
        connection
            .prepare_cached("INSERT INTO roles (organisation, name) VALUES (?1, ?2)")?
            .execute(params![id, role])?;
        // Viewers read, editors write too, owners also delete.
        for (action, thing) in ACTIONS[..=rank]
            .iter()
            .flat_map(|action| THINGS.iter().map(move |thing| (action, thing)))
        {
            connection
                .prepare_cached(
                    "INSERT INTO permissions (organisation, role, name) VALUES (?1, ?2, ?3)",
                )?
                .execute(params![id, role, format!("{thing}:{action}")])?;
        }
    }
    for (who, (person, role)) in (0..).zip(PEOPLE.iter().zip(ROLES)) {
        let user = user_id(n, who).to_string();
        connection
            .prepare_cached(
                "INSERT INTO users (id, organisation, email, role, version)
                 VALUES (?1, ?2, ?3, ?4, 1)",
            )?
            .execute(params![user, id, format!("{person}@{slug}.example.com"), role])?;
        let hash = TokenHash::of(&format!("demo-{slug}-{person}")).to_string();
        connection
            .prepare_cached(
                "INSERT INTO tokens (id, hash, user, expires_at, revoked)
                 VALUES (?1, ?2, ?3, ?4, 0)",
            )?
            .execute(params![token_id(n, who).to_string(), hash, user, EXPIRES_AT])?;
    }
    Ok(())
}
