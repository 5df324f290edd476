//! What it costs to wait for a lock that is held for long.

use std::sync::Arc;
use std::time::Duration;

use cache_bench_kit::{Table, cpu_seconds};
use futures_util::future::join_all;

use crate::Bench;
use crate::contender::{Contender, calls};
use crate::ours::Ours;
use crate::peers::polling::Polling;
use crate::peers::rslock::Rslock;

const WAITERS: usize = 32;
/// In seconds: quick, and full.
const TIME: (u64, u64) = (3, 5);
/// Until all are in line.
const SETTLE: Duration = Duration::from_secs(1);

pub(crate) fn run(bench: &Bench<'_>) {
    let (_, url) = &bench.ways[0];
    let time = time(bench);
    let title = format!("{WAITERS} wait for a lock that is held for {time:?}");
    let columns = [
        "attempts a second and process",
        "commands a second and process",
        "heartbeats: TIME",
        "heartbeats: PING",
        "client CPU ms a second",
    ];
    let mut table = Table::new("locks/idle", title, &columns);
    bench.runtime.block_on(async {
        let mut row = |name: &str, processes: usize, said: Said| {
            let seconds = time.as_secs_f64();
            let each = |count: u64| count as f64 / seconds / processes as f64;
            let [times, pings] = [said.times, said.pings].map(|count| count as f64);
            // The holder's process has a heart, too.
            let beats = (times + pings) / seconds / (processes + 1) as f64;
            let all = each(said.commands) + beats;
            let cells = [each(said.attempts), all, times, pings, said.cpu * 1e3 / seconds];
            table.row(name, &cells.map(Some));
        };
        row("ours, a process each", WAITERS, said::<Ours>(bench, url, WAITERS, 1).await);
        row("ours, all in one process", 1, said::<Ours>(bench, url, 1, WAITERS).await);
        row(Polling::NAME, WAITERS, said::<Polling>(bench, url, WAITERS, 1).await);
        row(Rslock::NAME, WAITERS, said::<Rslock>(bench, url, WAITERS, 1).await);
    });
    bench.record.table(table);
}

fn time(bench: &Bench<'_>) -> Duration {
    Duration::from_secs(bench.arguments.choose(TIME.0, TIME.1))
}

/// What a server was told meanwhile.
struct Said {
    attempts: u64,
    /// Without heartbeats.
    commands: u64,
    times: u64,
    pings: u64,
    /// Seconds of the processor, in all processes.
    cpu: f64,
}

/// Attempts while `tasks` in each of so many processes wait.
async fn said<C: Contender>(bench: &Bench<'_>, url: &str, processes: usize, tasks: usize) -> Said {
    let holder = C::connect(url).await;
    let guard = holder.acquire(C::NAME).await;
    let mut waiting = Vec::new();
    for waiter in join_all((0..processes).map(|_| C::connect(url))).await {
        let waiter = Arc::new(waiter);
        for _ in 0..tasks {
            let waiter = Arc::clone(&waiter);
            waiting.push(tokio::spawn(async move {
                waiter.release(waiter.acquire(C::NAME).await).await;
            }));
        }
    }
    tokio::time::sleep(SETTLE).await;
    bench.server.reset_commandstats();
    let cpu = cpu_seconds();
    tokio::time::sleep(time(bench)).await;
    let cpu = cpu_seconds() - cpu;
    let commands = bench.server.commandstats();
    holder.release(guard).await;
    join_all(waiting).await;
    Said {
        attempts: C::attempts(&commands, 0),
        commands: C::commands(&commands),
        cpu,
        times: calls(&commands, "time").saturating_sub(calls(&commands, "evalsha")),
        pings: calls(&commands, "ping"),
    }
}
