//! The database: SQLite in a file that several instances may share, a few connections, work on
//! threads that may block.

mod changes;
mod reads;
pub mod seed;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::Semaphore;
use tokio::task::JoinError;
use uuid::Uuid;

use crate::identity::{Host, Identity, Slug};
use crate::model::{Org, Token, User};
use crate::secret::TokenHash;

pub use changes::{OrgChange, Revoked};

/// How long a writer waits for another one.
const BUSY: Duration = Duration::from_secs(5);

/// Why the database gave no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatabaseError {
    /// SQLite says no.
    #[error("the database refused")]
    Sqlite(#[from] rusqlite::Error),
    /// The thread that asked it panicked or was stopped.
    #[error("the database's thread failed")]
    Thread(#[from] JoinError),
    /// No place for a file of one's own.
    #[error("no place for the database file")]
    File(#[from] std::io::Error),
}

/// Why a change was refused; nothing was changed then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// There is nothing to change.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// The organisation has no such role.
    #[error("the user's organisation has no role {0:?}")]
    UnknownRole(String),
    /// Another organisation has the host.
    #[error("the host {0} belongs to another organisation")]
    HostTaken(Host),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl From<rusqlite::Error> for ChangeError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error.into())
    }
}

impl From<JoinError> for ChangeError {
    fn from(error: JoinError) -> Self {
        Self::Database(error.into())
    }
}

/// Handles to one database; clones share its connections.
#[derive(Clone, Debug)]
pub struct Database(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    // Before the folder that the file may be in: it is removed when no connection is left.
    idle: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
    queries: AtomicU64,
    path: PathBuf,
    _folder: Option<TemporaryFolder>,
}

impl Database {
    /// Opens the file at `path`, or one of its own that is removed in the end, with up to
    /// `connections` at once. A file that has no tables yet is seeded with `organisations`; several
    /// instances may do that at the same time.
    ///
    /// # Errors
    ///
    /// If the file cannot be made or opened, or is no database.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the file may have been made and seeded.
    pub async fn open(
        path: Option<PathBuf>,
        connections: usize,
        organisations: u32,
    ) -> Result<Self, DatabaseError> {
        tokio::task::spawn_blocking(move || {
            let folder = if path.is_none() { Some(TemporaryFolder::create()?) } else { None };
            let path = match (path, &folder) {
                (None, Some(folder)) => folder.0.join("tenants.sqlite"),
                (path, _) => path.unwrap_or_default(),
            };
            let mut connection = connect(&path)?;
            seed::fill_if_empty(&mut connection, organisations)?;
            Ok(Self(Arc::new(Inner {
                idle: Mutex::new(vec![connection]),
                permits: Arc::new(Semaphore::new(connections)),
                queries: AtomicU64::new(0),
                path,
                _folder: folder,
            })))
        })
        .await?
    }

    /// Lookups made so far, of organisations, users and tokens: what the cache is there to save.
    #[must_use]
    pub fn queries(&self) -> u64 {
        self.0.queries.load(Ordering::Relaxed)
    }

    /// The organisation, inactive ones included.
    ///
    /// # Errors
    ///
    /// If the database fails. The same holds for the other lookups.
    pub async fn org(&self, identity: Identity) -> Result<Option<Org>, DatabaseError> {
        self.look_up(move |connection| reads::org(connection, &identity)).await
    }

    /// The user, with what the role allows.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub async fn user(&self, id: Uuid) -> Result<Option<User>, DatabaseError> {
        self.look_up(move |connection| reads::user(connection, id)).await
    }

    /// Every organisation that is served.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub async fn active_orgs(&self) -> Result<Vec<Org>, DatabaseError> {
        self.look_up(reads::active_orgs).await
    }

    /// The users of an organisation.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub async fn users_of(&self, org: Uuid) -> Result<Vec<User>, DatabaseError> {
        self.look_up(move |connection| reads::users_of(connection, org)).await
    }

    /// The token with this hash, revoked or run out ones included.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub async fn token(&self, hash: TokenHash) -> Result<Option<Token>, DatabaseError> {
        self.look_up(move |connection| reads::token(connection, &hash)).await
    }

    /// Changes an organisation. Returns it as it was before and as it is now.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ChangeError::NotFound), [`HostTaken`](ChangeError::HostTaken), and if the database
    /// fails.
    ///
    /// # Cancel safety
    ///
    /// None of the changes is safe: if the future is dropped, it may have been made.
    pub async fn change_org(
        &self,
        slug: &Slug,
        change: OrgChange,
    ) -> Result<(Org, Org), ChangeError> {
        let identity = Identity::Slug(slug.clone());
        self.with_connection(move |connection| changes::org(connection, &identity, &change)).await
    }

    /// Gives a user another role of the same organisation. Returns the user as it is now.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ChangeError::NotFound), [`UnknownRole`](ChangeError::UnknownRole), and if the
    /// database fails.
    pub async fn change_role(&self, user: Uuid, role: String) -> Result<User, ChangeError> {
        self.with_connection(move |connection| changes::role(connection, user, &role)).await
    }

    /// Revokes a token; one that was revoked before stays so.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ChangeError::NotFound), and if the database fails.
    pub async fn revoke(&self, token: Uuid) -> Result<Revoked, ChangeError> {
        self.with_connection(move |connection| changes::revoke(connection, token)).await
    }

    async fn look_up<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, DatabaseError> {
        self.0.queries.fetch_add(1, Ordering::Relaxed);
        self.with_connection(move |connection| Ok(work(connection)?)).await
    }

    /// Does `work` on a thread that may block, once a connection is free.
    async fn with_connection<T, E>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<rusqlite::Error> + From<JoinError> + Send + 'static,
    {
        // Never closed, so there is a permit in the end. It goes along, for the thread works on when
        // the caller has gone.
        let permit = Arc::clone(&self.0.permits).acquire_owned().await;
        let inner = Arc::clone(&self.0);
        tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let idle = inner.idle.lock().pop();
            let mut connection = idle.map_or_else(|| connect(&inner.path), Ok)?;
            let done = work(&mut connection);
            inner.idle.lock().push(connection);
            done
        })
        .await?
    }
}

fn connect(path: &std::path::Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    // Readers and writers do not wait for each other.
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "normal")?;
    connection.pragma_update(None, "foreign_keys", "on")?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(connection)
}

/// A folder of our own, removed with what is in it.
#[derive(Debug)]
struct TemporaryFolder(PathBuf);

impl TemporaryFolder {
    fn create() -> std::io::Result<Self> {
        let path = std::env::temp_dir().join(format!("tenant-service-{}", Uuid::new_v4()));
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
