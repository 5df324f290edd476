//! The database: SQLite in a temporary file, a few connections, work on blocking threads.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension, Row, ToSql};
use tokio::sync::Semaphore;
use tokio::task::JoinError;
use uuid::Uuid;

use crate::directory::Directory;
use crate::seed;
use crate::service::{Identity, Role, Tenant, User};

/// Connections at most, as a pool in front of a real database would have.
pub(crate) const CONNECTIONS: usize = 4;

/// What [`Database::tenant`] makes of them.
pub(crate) const QUERIES_PER_TENANT: u64 = 3;

#[derive(Debug, thiserror::Error)]
pub(crate) enum DatabaseError {
    #[error("no organisation is known by {0:?}")]
    NotFound(Identity),
    #[error("the database refused")]
    Sqlite(#[from] rusqlite::Error),
    #[error("no place for the database file")]
    File(#[from] io::Error),
    #[error("the database's thread failed")]
    Thread(#[from] JoinError),
}

#[derive(Debug)]
pub(crate) struct Database {
    // Dropped before the directory that the file is in.
    idle: Mutex<Vec<Connection>>,
    permits: Semaphore,
    queries: AtomicU64,
    folder: TemporaryFolder,
}

impl Database {
    /// A database full of organisations, the same ones for the same seed.
    pub(crate) async fn create(seed: u64) -> Result<(Self, Directory), DatabaseError> {
        tokio::task::spawn_blocking(move || {
            let folder = TemporaryFolder::create()?;
            let mut connection = open(&folder.0)?;
            let directory = seed::fill(&mut connection, seed)?;
            let database = Self {
                idle: Mutex::new(vec![connection]),
                permits: Semaphore::new(CONNECTIONS),
                queries: AtomicU64::new(0),
                folder,
            };
            Ok((database, directory))
        })
        .await?
    }

    /// Queries made so far.
    pub(crate) fn queries(&self) -> u64 {
        self.queries.load(Ordering::Relaxed)
    }

    /// The organisation, its users and its roles: three queries.
    pub(crate) async fn tenant(
        self: &Arc<Self>,
        identity: Identity,
    ) -> Result<Tenant, DatabaseError> {
        self.with_connection(move |database, connection| {
            // One transaction, so that the three see one state.
            let snapshot = connection.unchecked_transaction()?;
            let organisation = database.organisation(&snapshot, &identity)?;
            let (id, mut tenant) = organisation.ok_or(DatabaseError::NotFound(identity))?;
            tenant.users = database.users(&snapshot, id)?;
            tenant.roles = database.roles(&snapshot, id)?;
            Ok(tenant)
        })
        .await
    }

    /// Gives a user another role of the same organisation.
    pub(crate) async fn set_role(
        self: &Arc<Self>,
        email: &str,
        role: &str,
    ) -> Result<(), DatabaseError> {
        let (email, role) = (email.to_owned(), role.to_owned());
        self.with_connection(move |_, connection| {
            let mut update = connection.prepare_cached(
                "UPDATE users SET role = (SELECT roles.id FROM roles
                    WHERE roles.organisation = users.organisation AND roles.name = ?2)
                 WHERE email = ?1",
            )?;
            update.execute([email, role])?;
            Ok(())
        })
        .await
    }

    fn organisation(
        &self,
        connection: &Connection,
        identity: &Identity,
    ) -> Result<Option<(i64, Tenant)>, DatabaseError> {
        self.count_query();
        let (column, value): (_, &dyn ToSql) = match identity {
            Identity::Slug(slug) => ("slug", slug),
            Identity::Host(host) => ("host", host),
            Identity::Uuid(uuid) => ("uuid", &uuid.to_string()),
        };
        let query =
            format!("SELECT id, uuid, slug, host, name FROM organisations WHERE {column} = ?1");
        let found = connection.prepare_cached(&query)?.query_row([value], |row| {
            let tenant = Tenant {
                uuid: uuid_in(row, 1)?,
                slug: row.get(2)?,
                host: row.get(3)?,
                name: row.get(4)?,
                users: Vec::new(),
                roles: Vec::new(),
            };
            Ok((row.get(0)?, tenant))
        });
        Ok(found.optional()?)
    }

    fn users(&self, connection: &Connection, organisation: i64) -> rusqlite::Result<Vec<User>> {
        self.count_query();
        let mut query = connection.prepare_cached(
            "SELECT users.email, roles.name FROM users JOIN roles ON roles.id = users.role
             WHERE users.organisation = ?1 ORDER BY users.id",
        )?;
        let rows = query
            .query_map([organisation], |row| Ok(User { email: row.get(0)?, role: row.get(1)? }))?;
        rows.collect()
    }

    fn roles(&self, connection: &Connection, organisation: i64) -> rusqlite::Result<Vec<Role>> {
        self.count_query();
        let mut query = connection.prepare_cached(
            "SELECT roles.name, permissions.name FROM roles
             JOIN permissions ON permissions.role = roles.id
             WHERE roles.organisation = ?1 ORDER BY roles.id, permissions.id",
        )?;
        let mut rows = query.query([organisation])?;
        let mut roles: Vec<Role> = Vec::new();
        while let Some(row) = rows.next()? {
            let (name, permission) = (row.get(0)?, row.get(1)?);
            match roles.last_mut() {
                Some(role) if role.name == name => role.permissions.push(permission),
                _ => roles.push(Role { name, permissions: vec![permission] }),
            }
        }
        Ok(roles)
    }

    fn count_query(&self) {
        self.queries.fetch_add(1, Ordering::Relaxed);
    }

    /// Does `work` on a thread that may block, once a connection is free.
    async fn with_connection<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self, &Connection) -> Result<T, DatabaseError> + Send + 'static,
    ) -> Result<T, DatabaseError> {
        // Never closed, so there is always a permit in the end.
        let _permit = self.permits.acquire().await;
        let database = Arc::clone(self);
        tokio::task::spawn_blocking(move || {
            let idle = database.idle.lock().pop();
            let connection = idle.map_or_else(|| open(&database.folder.0), Ok)?;
            let done = work(&database, &connection);
            database.idle.lock().push(connection);
            done
        })
        .await?
    }
}

fn open(folder: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(folder.join("tenants.sqlite"))?;
    // Readers and writers do not wait for each other; the file is thrown away, so no fsync.
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "off")?;
    Ok(connection)
}

fn uuid_in(row: &Row<'_>, column: usize) -> rusqlite::Result<Uuid> {
    let text: String = row.get(column)?;
    Uuid::parse_str(&text).map_err(|error| {
        let kind = rusqlite::types::Type::Text;
        rusqlite::Error::FromSqlConversionFailure(column, kind, Box::new(error))
    })
}

/// A folder of our own, removed with what is in it.
#[derive(Debug)]
struct TemporaryFolder(PathBuf);

impl TemporaryFolder {
    fn create() -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("tenants-{}", Uuid::new_v4()));
        std::fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        // What cannot be removed is left to whoever cleans temporary files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
