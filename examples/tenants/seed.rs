//! What is in the database: organisations, their users, roles and permissions, made from a seed.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use rusqlite::{Connection, params};
use uuid::Builder;

use crate::directory::{Directory, Organisation};

pub(crate) const ORGANISATIONS: usize = 2_000;

/// From the one who may least to the one who may all.
pub(crate) const ROLES: [&str; 3] = ["viewer", "editor", "owner"];

const SCHEMA: &str = "
    CREATE TABLE organisations (
        id INTEGER PRIMARY KEY,
        uuid TEXT NOT NULL UNIQUE,
        slug TEXT NOT NULL UNIQUE,
        host TEXT NOT NULL UNIQUE,
        name TEXT NOT NULL
    );
    CREATE TABLE roles (
        id INTEGER PRIMARY KEY,
        organisation INTEGER NOT NULL REFERENCES organisations,
        name TEXT NOT NULL,
        UNIQUE (organisation, name)
    );
    CREATE TABLE permissions (
        id INTEGER PRIMARY KEY,
        role INTEGER NOT NULL REFERENCES roles,
        name TEXT NOT NULL
    );
    CREATE INDEX permissions_of_role ON permissions (role);
    CREATE TABLE users (
        id INTEGER PRIMARY KEY,
        organisation INTEGER NOT NULL REFERENCES organisations,
        email TEXT NOT NULL UNIQUE,
        role INTEGER NOT NULL REFERENCES roles
    );
    CREATE INDEX users_of_organisation ON users (organisation);
";

const COLOURS: [&str; 10] =
    ["amber", "azure", "coral", "crimson", "golden", "indigo", "ivory", "jade", "silver", "violet"];
const THINGS: [&str; 10] = [
    "anchor", "bridge", "canyon", "falcon", "garden", "harbour", "lantern", "meadow", "orchard",
    "summit",
];
const PEOPLE: [&str; 12] = [
    "ada", "alan", "barbara", "dennis", "donald", "edsger", "frances", "grace", "john", "ken",
    "margaret", "niklaus",
];
const THINGS_TO_MANAGE: [&str; 4] = ["invoices", "members", "projects", "settings"];

pub(crate) fn fill(connection: &mut Connection, seed: u64) -> rusqlite::Result<Directory> {
    let mut random = SmallRng::seed_from_u64(seed);
    let transaction = connection.transaction()?;
    transaction.execute_batch(SCHEMA)?;
    let mut directory = Vec::with_capacity(ORGANISATIONS);
    for number in 0..ORGANISATIONS {
        directory.push(organisation(&transaction, number, &mut random)?);
    }
    transaction.commit()?;
    Ok(Directory(directory))
}

fn organisation(
    connection: &Connection,
    number: usize,
    random: &mut SmallRng,
) -> rusqlite::Result<Organisation> {
    let (colour, thing) = (COLOURS[number / 10 % 10], THINGS[number % 10]);
    let slug = format!("{colour}-{thing}-{}", number / 100 + 1);
    let host = format!("{slug}.example.com");
    let name = format!("The {colour} {thing} company no. {}", number / 100 + 1);
    let uuid = Builder::from_random_bytes(random.random()).into_uuid();
    connection
        .prepare_cached(
            "INSERT INTO organisations (uuid, slug, host, name) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![uuid.to_string(), slug, host, name])?;
    let id = connection.last_insert_rowid();
    let roles = roles(connection, id)?;

    let users = random.random_range(3..=PEOPLE.len());
    for (at, person) in PEOPLE.iter().take(users).enumerate() {
        // The first one owns the organisation.
        let role = if at == 0 { ROLES.len() - 1 } else { random.random_range(0..ROLES.len()) };
        connection
            .prepare_cached("INSERT INTO users (organisation, email, role) VALUES (?1, ?2, ?3)")?
            .execute(params![id, format!("{person}@{host}"), roles[role]])?;
    }
    Ok(Organisation { uuid, slug, host, users: users as u64 })
}

/// Makes the roles of an organisation and returns their ids, in the order of [`ROLES`].
fn roles(connection: &Connection, organisation: i64) -> rusqlite::Result<[i64; ROLES.len()]> {
    let mut ids = [0; ROLES.len()];
    for (rank, (id, role)) in ids.iter_mut().zip(ROLES).enumerate() {
        connection
            .prepare_cached("INSERT INTO roles (organisation, name) VALUES (?1, ?2)")?
            .execute(params![organisation, role])?;
        *id = connection.last_insert_rowid();
        // Viewers read, editors write too, owners also delete.
        for action in ["read", "write", "delete"].iter().take(rank + 1) {
            for thing in THINGS_TO_MANAGE {
                connection
                    .prepare_cached("INSERT INTO permissions (role, name) VALUES (?1, ?2)")?
                    .execute(params![*id, format!("{thing}:{action}")])?;
            }
        }
    }
    Ok(ids)
}
