//! One instance of the service: started from its settings, stopped in good order.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use cache_services::{CacheError, CacheServices, Warmer};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::config::Settings;
use crate::config::reload::Reload;
use crate::database::{Database, DatabaseError};
use crate::live::Live;
use crate::serving::serve;
use crate::upstream::Upstream;
use crate::{admin, http};

/// What the locks and connections have for their end, beside the time that requests have.
const CLOSING: Duration = Duration::from_secs(4);
/// What changes that are under way have at least, when requests have used up the time.
const CHANGES: Duration = Duration::from_secs(1);

/// Why an instance does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The cache and the locks; most often Redis cannot be reached.
    #[error("the cache cannot be set up")]
    Cache(#[source] CacheError),
    /// The database.
    #[error("the database {path} cannot be opened")]
    Database {
        /// Its file.
        path: String,
        /// Why.
        source: DatabaseError,
    },
    /// An address that is taken, or not of this machine.
    #[error("{setting} ({address}) cannot be listened on")]
    Listen {
        /// Which setting names it.
        setting: &'static str,
        /// The address.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// The admin API.
    #[error("the admin API cannot be set up")]
    Admin(#[source] CacheError),
}

/// What a program or a test may put into an instance beside its settings.
#[derive(Debug, Default)]
pub struct Parts {
    /// The file that the settings come from, to be watched for changes.
    pub config_file: Option<PathBuf>,
    /// An identity provider that is shared with other instances.
    pub upstream: Option<Arc<Upstream>>,
    /// More routes of tenants.
    pub routes: Router<App>,
}

/// How an instance came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Everything that was under way was finished.
    Finished,
    /// Time was up, and requests or changes were left.
    TimeUp,
}

/// An instance that takes requests. To be [shut down](Self::shutdown); a dropped one goes on.
#[derive(Debug)]
pub struct Instance {
    addr: SocketAddr,
    admin_addr: SocketAddr,
    app: App,
    warmer: Warmer,
    grace: Duration,
    stop: CancellationToken,
    stop_admin: CancellationToken,
    serving: JoinHandle<()>,
    administering: JoinHandle<()>,
    reloading: Option<JoinHandle<()>>,
}

impl Instance {
    /// Starts an instance.
    ///
    /// # Errors
    ///
    /// [`StartError`], which says what is in the way.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped nothing is started; the database may have been made.
    pub async fn start(settings: Settings, parts: Parts) -> Result<Self, StartError> {
        let listener = listen("listen_addr", &settings.listen_addr).await?;
        let admin_listener = listen("admin_addr", &settings.admin_addr).await?;
        let (addr, admin_addr) = (address(&listener)?, address(&admin_listener)?);
        let services =
            CacheServices::from_config(settings.cache.clone()).await.map_err(StartError::Cache)?;
        let database = Database::open(
            settings.database_path.clone(),
            settings.database_connections,
            settings.organisations,
        );
        let path = settings.database_path.as_ref().map(|path| path.display().to_string());
        let database = database.await.map_err(|source| StartError::Database {
            path: path.unwrap_or_else(|| "of its own".to_owned()),
            source,
        })?;
        let upstream = parts.upstream.unwrap_or_else(|| {
            Arc::new(Upstream::new(settings.upstream_latency, settings.upstream_session))
        });
        if settings.change_token.is_none() {
            tracing::warn!(
                "no CHANGE_TOKEN is set: whoever reaches this service may change things"
            );
        }
        let shared = settings.cache.redis_url.as_deref().is_some_and(|url| !url.trim().is_empty());
        if shared && settings.database_path.is_none() {
            tracing::warn!(
                "REDIS_URL is set and DATABASE_PATH is not: instances that share a cache need a database \
                 that they share, and this one has its own"
            );
        }
        let live = Arc::new(Live::new(settings.live.clone()));
        let change_token = settings.change_token.clone();
        let app = App::new(services, database, upstream, live, change_token);
        let (admin, warmer) =
            admin::router(&app, settings.admin_token.as_ref()).map_err(StartError::Admin)?;

        let (stop, stop_admin) = (CancellationToken::new(), CancellationToken::new());
        let routes = http::router(app.clone(), parts.routes);
        let grace = settings.shutdown;
        let reload = parts.config_file.map(|path| Reload::new(path, settings));
        Ok(Self {
            addr,
            admin_addr,
            grace,
            serving: serving(listener, routes, &app, &stop),
            administering: serving(admin_listener, admin, &app, &stop_admin),
            reloading: reload.map(|reload| tokio::spawn(reload.watch(app.clone()))),
            app,
            warmer,
            stop,
            stop_admin,
        })
    }

    /// Where requests are taken.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where the admin API is.
    #[must_use]
    pub fn admin_addr(&self) -> SocketAddr {
        self.admin_addr
    }

    /// What the instance works with.
    #[must_use]
    pub fn app(&self) -> &App {
        &self.app
    }

    /// Takes no more requests, finishes those it has and the changes that are under way, within the
    /// time that the settings give, then gives back locks and connections. In 25 s at most, unless they are others.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped the instance goes on ending.
    pub async fn shutdown(self) -> Ended {
        let until = Instant::now() + self.grace;
        let rest = || until.saturating_duration_since(Instant::now());
        if let Some(reloading) = self.reloading {
            reloading.abort();
        }
        self.stop.cancel();
        let mut ended = Ended::Finished;
        if tokio::time::timeout(rest(), self.serving).await.is_err() {
            tracing::warn!("requests were left when the time to finish them was up");
            ended = Ended::TimeUp;
        }
        self.app.stopping().cancel();
        self.app.tasks().close();
        let left = rest().max(CHANGES);
        if tokio::time::timeout(left, self.app.tasks().wait()).await.is_err() {
            tracing::warn!("changes were left when the time to finish them was up");
            ended = Ended::TimeUp;
        }
        let closing = async {
            self.warmer.shutdown().await;
            self.app.services().shutdown().await;
        };
        if tokio::time::timeout(CLOSING, closing).await.is_err() {
            tracing::warn!("the locks were not all given back in time");
            ended = Ended::TimeUp;
        }
        self.stop_admin.cancel();
        self.administering.abort();
        tracing::info!(?ended, "shut down");
        ended
    }
}

async fn listen(setting: &'static str, address: &str) -> Result<TcpListener, StartError> {
    let listener = TcpListener::bind(address).await;
    listener.map_err(|source| StartError::Listen { setting, address: address.to_owned(), source })
}

fn address(listener: &TcpListener) -> Result<SocketAddr, StartError> {
    let address = listener.local_addr();
    address.map_err(|source| StartError::Listen {
        setting: "the listener",
        address: "unknown".to_owned(),
        source,
    })
}

fn serving(
    listener: TcpListener,
    routes: Router,
    app: &App,
    stop: &CancellationToken,
) -> JoinHandle<()> {
    let (app, stop) = (app.clone(), stop.clone());
    let header_timeout = move || app.live().settings().header_timeout;
    tokio::spawn(serve(listener, routes, header_timeout, stop))
}
