//! Many tasks that look tenants up at once, and how long each lookup took. With several instances
//! each task asks one of them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::task::JoinSet;

use crate::AnyError;
use crate::directory::Directory;
use crate::fleet::Fleet;
use crate::service::TenantService;
use crate::workload::Workload;

pub(crate) const TASKS: usize = 64;

/// How often a task tells the progress bar how far it is.
const REPORT_EVERY: usize = 16;

/// Where tenants are looked up.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Route {
    Database,
    Cache,
}

/// What a run was like.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) queries: u64,
    pub(crate) elapsed: Duration,
    /// Of every lookup, in ascending order.
    pub(crate) latencies: Vec<Duration>,
}

impl Measured {
    pub(crate) fn lookups(&self) -> u64 {
        self.latencies.len() as u64
    }

    pub(crate) fn per_second(&self) -> f64 {
        self.latencies.len() as f64 / self.elapsed.as_secs_f64()
    }

    /// The latency that this part of the lookups, from 0 to 1, stayed within.
    pub(crate) fn percentile(&self, part: f64) -> Duration {
        percentile(&self.latencies, part)
    }
}

pub(crate) async fn measure(
    route: Route,
    fleet: &Fleet,
    directory: &Arc<Directory>,
    workload: &Workload,
) -> Result<Measured, AnyError> {
    let bar = progress_bar(workload.picks.len() as u64, route)?;
    let queries_before = fleet.database().queries();
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for first in 0..TASKS {
        let (tenants, directory) = (fleet.tenants(first).clone(), Arc::clone(directory));
        let (workload, bar) = (workload.clone(), bar.clone());
        tasks.spawn(
            async move { look_up(first, route, &tenants, &directory, &workload, &bar).await },
        );
    }
    let mut latencies = Vec::with_capacity(workload.picks.len());
    while let Some(done) = tasks.join_next().await {
        latencies.extend(done??);
    }
    let elapsed = start.elapsed();
    bar.finish_and_clear();
    latencies.sort_unstable();
    Ok(Measured { queries: fleet.database().queries() - queries_before, elapsed, latencies })
}

/// One task: every 64th lookup of the workload, each checked and timed.
async fn look_up(
    first: usize,
    route: Route,
    tenants: &TenantService,
    directory: &Directory,
    workload: &Workload,
    bar: &ProgressBar,
) -> Result<Vec<Duration>, AnyError> {
    let mut latencies = Vec::with_capacity(workload.picks.len() / TASKS + 1);
    for (done, pick) in workload.picks.iter().skip(first).step_by(TASKS).enumerate() {
        let wanted = &directory.0[usize::from(pick.organisation)];
        let identity = wanted.identity(pick.by);
        let start = Instant::now();
        let tenant = match route {
            Route::Cache => tenants.find(&identity).await?,
            Route::Database => Arc::new(tenants.database().tenant(identity).await?),
        };
        latencies.push(start.elapsed());
        if tenant.uuid != wanted.uuid {
            return Err(format!("asked for {}, got {}", wanted.slug, tenant.slug).into());
        }
        if (done + 1) % REPORT_EVERY == 0 {
            bar.inc(REPORT_EVERY as u64);
        }
        // Each lookup is a request of its own: between them the others have their turn.
        tokio::task::yield_now().await;
    }
    Ok(latencies)
}

/// On a terminal; elsewhere nothing is drawn.
fn progress_bar(lookups: u64, route: Route) -> Result<ProgressBar, AnyError> {
    let style =
        ProgressStyle::with_template("{msg:14} {wide_bar} {human_pos}/{human_len} {eta:>4}")?;
    let message = match route {
        Route::Database => "without cache",
        Route::Cache => "with cache",
    };
    Ok(ProgressBar::new(lookups).with_style(style).with_message(message))
}

/// The nearest-rank percentile of what is in ascending order; zero of nothing.
pub(crate) fn percentile(ascending: &[Duration], part: f64) -> Duration {
    let rank = (ascending.len() as f64 * part).ceil() as usize;
    ascending.get(rank.max(1) - 1).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let hundred: Vec<_> = (1..=100).map(Duration::from_millis).collect();
        for (part, millis) in [(0.0, 1), (0.5, 50), (0.95, 95), (0.99, 99), (1.0, 100)] {
            assert_eq!(percentile(&hundred, part), Duration::from_millis(millis), "{part}");
        }
        assert_eq!(percentile(&hundred[..1], 0.99), Duration::from_millis(1));
        assert_eq!(percentile(&[], 0.5), Duration::ZERO);
    }
}
