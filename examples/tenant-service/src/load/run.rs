//! The run: each request is sent when it is due, in a task of its own, and its time counts from then.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::{Method, StatusCode};
use indicatif::{ProgressBar, ProgressStyle};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio_util::task::TaskTracker;

use super::args::LoadArgs;
use super::freshness::Freshness;
use super::plan::{Pick, Plan, What, each};
use super::report::Report;
use crate::client::{Answer, Client, ClientError};
use crate::database::seed;
use crate::secret::Secret;

/// Why there was no run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// An instance does not answer, or not as one.
    #[error("{0} does not answer as an instance of tenant-service")]
    Target(std::net::SocketAddr),
    /// An admin address does not tell its counters.
    #[error("{0} does not tell its counters; is the admin token right?")]
    Admin(std::net::SocketAddr),
}

/// Puts load on the targets and says what became of it.
///
/// # Errors
///
/// If a target or an admin address does not answer at the beginning. What fails later is in the report.
///
/// # Cancel safety
///
/// If the future is dropped, what was sent goes on.
pub async fn run(args: LoadArgs) -> Result<Report, LoadError> {
    let load = Arc::new(Load::new(args));
    for (client, target) in load.clients.iter().zip(&load.args.targets) {
        let answer = client.get("/health", &[]).await;
        if !answer.is_ok_and(|answer| answer.status == StatusCode::OK) {
            return Err(LoadError::Target(target.0));
        }
    }
    if load.args.warm_up {
        load.warm_up().await;
    }
    let before = load.hits_and_lookups().await?;
    let tasks = TaskTracker::new();
    let start = Instant::now();
    if load.args.changes_per_second > 0 {
        tasks.spawn(Arc::clone(&load).changes(start, tasks.clone()));
    }
    load.reads(start, &tasks).await;
    tasks.close();
    tasks.wait().await;
    load.bar.finish_and_clear();
    let after = load.hits_and_lookups().await?;

    let mut report = std::mem::take(&mut *load.report.lock());
    report.latencies.sort_unstable();
    report.change_latencies.sort_unstable();
    if let (Some(before), Some(after)) = (before, after) {
        let (hits, lookups) = (after.0 - before.0, after.1 - before.1);
        report.hit_ratio = (lookups > 0.0).then_some(hits / lookups);
    }
    Ok(report)
}

struct Load {
    clients: Vec<Client>,
    admins: Vec<Client>,
    freshness: Freshness,
    report: Mutex<Report>,
    bar: ProgressBar,
    args: LoadArgs,
}

impl Load {
    fn new(args: LoadArgs) -> Self {
        let clients = |targets: &[super::Target]| {
            let client =
                |target: &super::Target| Client::new(target.0, args.connections, args.timeout);
            targets.iter().map(client).collect()
        };
        let reads = u64::from(args.rate) * args.duration.as_secs();
        let style = ProgressStyle::with_template("{wide_bar} {human_pos}/{human_len} {eta:>4}");
        let bar = match (args.progress, style) {
            (true, Ok(style)) => ProgressBar::new(reads).with_style(style),
            _ => ProgressBar::hidden(),
        };
        Self {
            clients: clients(&args.targets),
            admins: clients(&args.admins),
            freshness: Freshness::new(args.tenants),
            report: Mutex::new(Report { duration: args.duration, ..Report::default() }),
            bar,
            args,
        }
    }

    /// Asks for everything once, as fast as the targets answer.
    async fn warm_up(self: &Arc<Self>) {
        let picks = Arc::new(Mutex::new(each(self.args.tenants, self.args.reads).enumerate()));
        let asking = (0..self.args.connections.min(16)).map(|_| {
            let (load, picks) = (Arc::clone(self), Arc::clone(&picks));
            tokio::spawn(async move {
                loop {
                    let Some((number, pick)) = picks.lock().next() else { break };
                    let client = &load.clients[number % load.clients.len()];
                    // What does not answer now is counted later.
                    let _ = send(client, pick).await;
                }
            })
        });
        for task in asking.collect::<Vec<_>>() {
            let _ = task.await;
        }
    }

    async fn reads(self: &Arc<Self>, start: Instant, tasks: &TaskTracker) {
        for (number, pick) in (0_u64..).zip(Plan::new(&self.args)) {
            let due = start + after(number, self.args.rate);
            if due >= start + self.args.duration {
                break;
            }
            until(due).await;
            let load = Arc::clone(self);
            tasks.spawn(async move { load.read(number as usize, pick, due).await });
            if number % 64 == 63 {
                self.bar.inc(64);
            }
        }
    }

    async fn read(&self, number: usize, pick: Pick, due: Instant) {
        let target = number % self.clients.len();
        let sent = Instant::now();
        let answer = send(&self.clients[target], pick).await;
        let took = due.elapsed();
        let answer = match answer {
            Ok(answer) if answer.status == StatusCode::OK => answer,
            other => return self.failed(other),
        };
        let body = answer.json();
        let (right, fresh) = match pick.what {
            What::Org => (body["slug"] == seed::slug(pick.tenant), true),
            What::Me => {
                let version = body["user"]["version"].as_u64().unwrap_or(0);
                let fresh = self.freshness.is_fresh(pick.tenant, version, target, sent);
                (body["organisation"] == seed::slug(pick.tenant), fresh)
            }
        };
        let mut report = self.report.lock();
        report.latencies.push(took);
        report.wrong += u64::from(!right);
        report.stale += u64::from(right && !fresh);
    }

    /// Gives users other roles, one organisation after the other, each on another target.
    async fn changes(self: Arc<Self>, start: Instant, tasks: TaskTracker) {
        for number in 0_u32.. {
            let due = start + after(number.into(), self.args.changes_per_second);
            if due >= start + self.args.duration {
                break;
            }
            until(due).await;
            let load = Arc::clone(&self);
            tasks.spawn(async move { load.change(number, due).await });
        }
    }

    async fn change(&self, number: u32, due: Instant) {
        let tenant = number % self.args.tenants;
        let target = number as usize % self.clients.len();
        let role = seed::ROLES[(number / self.args.tenants + 1) as usize % seed::ROLES.len()];
        let path = format!("/users/{}/role", seed::user_id(tenant, 0));
        let body = json!({ "role": role }).to_string();
        let answer = self.clients[target].send(Method::PUT, &path, body, |builder| {
            match &self.args.change_token {
                Some(token) => {
                    builder.header("authorization", format!("Bearer {}", token.reveal()))
                }
                None => builder,
            }
        });
        let answer = answer.await;
        let (took, answered) = (due.elapsed(), Instant::now());
        match answer {
            Ok(answer) if answer.status == StatusCode::OK => {
                let version = answer.json()["version"].as_u64().unwrap_or(0);
                let others = Some(self.args.bound);
                self.freshness.changed(tenant, version, target, answered, others);
                self.report.lock().change_latencies.push(took);
            }
            Ok(answer) if answer.status == StatusCode::ACCEPTED => {
                // Seen at once by the one that made it, and by the others when they are told.
                let version = answer.json()["version"].as_u64().unwrap_or(0);
                self.freshness.changed(tenant, version, target, answered, None);
                let mut report = self.report.lock();
                report.change_latencies.push(took);
                report.pending_changes += 1;
            }
            other => self.failed(other),
        }
    }

    fn failed(&self, answer: Result<Answer, ClientError>) {
        let sort = match answer {
            Ok(answer) => match answer.json()["error"]["code"].as_str() {
                Some(code) => format!("status {}: {code}", answer.status.as_u16()),
                None => format!("status {}", answer.status.as_u16()),
            },
            Err(error) => error.to_string(),
        };
        *self.report.lock().failures.entry(sort).or_default() += 1;
    }

    /// Hits and lookups of all caches so far; `None` if no admin address is known.
    async fn hits_and_lookups(&self) -> Result<Option<(f64, f64)>, LoadError> {
        let mut sums = None;
        for (client, target) in self.admins.iter().zip(&self.args.admins) {
            let token = self.args.admin_token.as_ref().map_or("", Secret::reveal);
            let bearer = format!("Bearer {token}");
            let answer = client.get("/stats", &[("authorization", &bearer)]).await;
            let stats = answer.ok().map(|answer| answer.json()).unwrap_or_default();
            let Some((hits, misses)) = counted(&stats) else {
                return Err(LoadError::Admin(target.0));
            };
            let (all_hits, all) = sums.unwrap_or((0.0, 0.0));
            sums = Some((all_hits + hits, all + hits + misses));
        }
        Ok(sums)
    }
}

/// Hits and misses in what the admin API says.
fn counted(stats: &Value) -> Option<(f64, f64)> {
    let cache = stats.get("cache").unwrap_or(stats);
    let of = |name: &str| cache[name].as_f64();
    Some((of("local_hits")? + of("remote_hits")?, of("misses")?))
}

async fn send(client: &Client, pick: Pick) -> Result<Answer, ClientError> {
    client.send(Method::GET, pick.path(), "", |builder| pick.headers(builder)).await
}

/// How long after the beginning the `number`th of so many a second is due.
fn after(number: u64, per_second: u32) -> Duration {
    Duration::from_secs_f64(number as f64 / f64::from(per_second.max(1)))
}

/// Sleeps until `due`, if that is still to come.
async fn until(due: Instant) {
    if due > Instant::now() {
        tokio::time::sleep_until(due.into()).await;
    }
}
