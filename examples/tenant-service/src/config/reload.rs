//! A new configuration while the service runs: on SIGHUP, and when the file says something else.

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use cache_services::{CacheConfig, CacheServices, DEFAULT_CAPACITY};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::MissedTickBehavior;

use super::Settings;
use crate::app::App;

/// How often the file is looked at. Its text is compared, not its date: that holds for links that
/// are replaced and for clocks that jump.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// For how long a new text must have stayed the same: one who writes the file in place may be in the
/// middle of it.
const SETTLED_AFTER: Duration = Duration::from_millis(100);

/// The text of the file, or why it cannot be read.
type Text = Result<String, String>;

/// The file, and what is known of it.
#[derive(Debug)]
pub(crate) struct Reload {
    path: PathBuf,
    /// What was read last, good or not; nothing at first, so that a change made during the start is
    /// seen.
    last: Option<Text>,
    running: Settings,
    /// Where there are signals.
    hangup: Option<Signal>,
}

impl Reload {
    /// A service that runs on `running`, which the file at `path` said. Signals are heard from now on.
    pub(crate) fn new(path: PathBuf, running: Settings) -> Self {
        Self { path, last: None, running, hangup: signal(SignalKind::hangup()).ok() }
    }

    /// Looks at the file for ever. Where there are no signals, it looks as often.
    pub(crate) async fn watch(mut self, app: App) {
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let asked = tokio::select! {
                _ = look.tick() => false,
                () = async {
                    match &mut self.hangup {
                        Some(hangup) => drop(hangup.recv().await),
                        None => std::future::pending().await,
                    }
                } => true,
            };
            let text = read(self.path.clone()).await;
            if self.last.as_ref() == Some(&text) && !asked {
                continue;
            }
            let text = settled(text, || read(self.path.clone())).await;
            self.take_over(&text, asked, &app);
            self.last = Some(text);
        }
    }

    /// Takes over what the file says, all of it or nothing.
    fn take_over(&mut self, text: &Text, asked: bool, app: &App) {
        let file = self.path.display().to_string();
        let parsed = match text {
            Ok(text) => Settings::parse(text, |name| std::env::var_os(name)),
            Err(error) => {
                tracing::warn!(file, error, "the configuration stays: the file cannot be read");
                return;
            }
        };
        let settings = match parsed {
            Ok(settings) => settings,
            Err(problems) => {
                let problems = problems.0.join("; ");
                tracing::warn!(file, problems, "the configuration stays: the new one is wrong");
                return;
            }
        };
        let resized = resize(&self.running.cache, &settings.cache, app.services());
        if resized {
            self.running.cache.max_capacity = settings.cache.max_capacity;
            self.running.cache.max_weight_bytes = settings.cache.max_weight_bytes;
        }
        let another = resized || *app.live().settings() != settings.live;
        let restart = self.running.needs_restart(&settings).join(", ");
        app.live().replace(settings.live);
        // Nothing is, when the file is looked at for the first time.
        if !another && restart.is_empty() && !asked {
            return;
        }
        tracing::info!(file, needs_restart = restart, "the new configuration is in force");
    }
}

/// What `read` says when it says the same for a while, beginning with `text`.
async fn settled<Fut: Future<Output = Text>>(mut text: Text, read: impl Fn() -> Fut) -> Text {
    loop {
        tokio::time::sleep(SETTLED_AFTER).await;
        let again = read().await;
        if again == text {
            return text;
        }
        text = again;
    }
}

async fn read(path: PathBuf) -> Text {
    let reading = tokio::task::spawn_blocking(move || std::fs::read_to_string(path));
    match reading.await {
        Ok(read) => read.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

/// Gives the cache the bound that `new` says; whether there is another one now. Where there cannot be,
/// such as one of another kind, it takes a restart.
fn resize(running: &CacheConfig, new: &CacheConfig, services: &CacheServices) -> bool {
    let resized = match (bounds(running), bounds(new)) {
        (old, new) if old == new => return false,
        (_, (Some(entries), None)) => services.set_max_capacity(entries),
        (_, (None, Some(bytes))) => services.set_max_weight_bytes(bytes),
        _ => return false,
    };
    if let Err(error) = &resized {
        tracing::warn!(error = error as &dyn Error, "the bound of the cache stays until a restart");
    }
    resized.is_ok()
}

/// Entries and bytes, with the default.
fn bounds(config: &CacheConfig) -> (Option<u64>, Option<u64>) {
    match (config.max_capacity, config.max_weight_bytes) {
        (None, None) => (Some(DEFAULT_CAPACITY), None),
        set => set,
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
            ("cache", another_cache(cache, &new.cache)),
            ("upstream", upstream),
            ("shutdown_secs", *shutdown != new.shutdown),
            ("log", *log != new.log),
        ]
        .into_iter()
        .filter_map(|(name, another)| another.then_some(name))
        .collect()
    }
}

/// Whether the two differ in what is not changed by [`resize`], or in what it would change.
fn another_cache(running: &CacheConfig, new: &CacheConfig) -> bool {
    let CacheConfig { max_capacity, max_weight_bytes, .. } = *new;
    let resized = CacheConfig { max_capacity, max_weight_bytes, ..running.clone() };
    bounds(running) != bounds(new) || resized != *new
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_file_that_is_being_written_is_read_when_it_is_complete() {
        let text = |text: &str| Ok::<_, String>(text.to_owned());
        let reads =
            RefCell::new(vec![text("ttl: {"), Err("gone".to_owned()), text("a"), text("a")]);
        let read = || std::future::ready(reads.borrow_mut().remove(0));
        assert_eq!(settled(text("tt"), read).await, text("a"));
        assert_eq!(reads.into_inner(), []);
    }
}
