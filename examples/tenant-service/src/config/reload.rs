//! A new configuration while the service runs: on SIGHUP, and when the file says something else.

use std::path::PathBuf;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::MissedTickBehavior;

use super::Settings;
use crate::app::App;

/// How often the file is looked at. Its text is compared, not its date: that holds for links that
/// are replaced and for clocks that jump.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The file, and what is known of it.
#[derive(Debug)]
pub(crate) struct Reload {
    path: PathBuf,
    /// What was read last, good or not; `None` if it could not be read.
    last: Option<String>,
    running: Settings,
}

impl Reload {
    /// A service that runs on `running`, which the file at `path` said.
    pub(crate) fn new(path: PathBuf, running: Settings) -> Self {
        let last = std::fs::read_to_string(&path).ok();
        Self { path, last, running }
    }

    /// Looks at the file for ever. Where there are no signals, it looks as often.
    pub(crate) async fn watch(mut self, app: App) {
        let mut hangup = signal(SignalKind::hangup()).ok();
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let asked = tokio::select! {
                _ = look.tick() => false,
                () = async {
                    match &mut hangup {
                        Some(hangup) => drop(hangup.recv().await),
                        None => std::future::pending().await,
                    }
                } => true,
            };
            let path = self.path.clone();
            let read = tokio::task::spawn_blocking(move || std::fs::read_to_string(path)).await;
            let Ok(read) = read else { return };
            self.look(read.map_err(|error| error.to_string()), asked, &app);
        }
    }

    /// Takes over what the file says if that is new, or if it was asked for.
    fn look(&mut self, read: Result<String, String>, asked: bool, app: &App) {
        let file = self.path.display().to_string();
        let text = match read {
            Ok(text) if self.last.as_ref() == Some(&text) && !asked => return,
            Ok(text) => text,
            Err(error) => {
                if self.last.take().is_some() || asked {
                    tracing::warn!(file, error, "the configuration stays: the file is not there");
                }
                return;
            }
        };
        match Settings::parse(&text, |name| std::env::var_os(name)) {
            Err(problems) => {
                let problems = problems.0.join("; ");
                tracing::warn!(file, problems, "the configuration stays: the new one is wrong");
            }
            Ok(settings) => {
                let restart = self.running.needs_restart(&settings).join(", ");
                app.live().replace(settings.live);
                tracing::info!(file, needs_restart = restart, "the new configuration is in force");
            }
        }
        self.last = Some(text);
    }
}

impl Settings {
    /// What is another in `new` and cannot be changed in a running service.
    fn needs_restart(&self, new: &Self) -> Vec<&'static str> {
        let Self {
            listen_addr,
            admin_addr,
            admin_token,
            change_token,
            database_path,
            database_connections,
            organisations,
            cache,
            upstream_latency,
            upstream_session,
            shutdown,
            log,
            live: _,
        } = self;
        let database = *database_path != new.database_path
            || *database_connections != new.database_connections
            || *organisations != new.organisations;
        let upstream =
            *upstream_latency != new.upstream_latency || *upstream_session != new.upstream_session;
        [
            ("listen_addr", *listen_addr != new.listen_addr),
            ("admin_addr", *admin_addr != new.admin_addr),
            ("admin_token", *admin_token != new.admin_token),
            ("change_token", *change_token != new.change_token),
            ("database", database),
            ("cache", *cache != new.cache),
            ("upstream", upstream),
            ("shutdown_secs", *shutdown != new.shutdown),
            ("log", *log != new.log),
        ]
        .into_iter()
        .filter_map(|(name, another)| another.then_some(name))
        .collect()
    }
}
