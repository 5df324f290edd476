//! What it costs to wait for a lock that is held for long.

use std::sync::Arc;
use std::time::Duration;

use cache_bench::{Bound, bounded};
use futures_util::future::join_all;

use crate::Bench;
use crate::contender::{Contender, calls};
use crate::ours::Ours;
use crate::peers::polling::Polling;
use crate::peers::rslock::Rslock;

const WAITERS: usize = 32;
const TIME: Duration = Duration::from_secs(5);
/// Until all are in line.
const SETTLE: Duration = Duration::from_secs(1);

pub(crate) fn run(bench: &Bench) {
    let (_, url) = &bench.ways[0];
    println!("\n{WAITERS} wait for a lock that is held for {TIME:?}");
    let per_second = |attempts: u64| attempts as f64 / TIME.as_secs_f64();
    bench.runtime.block_on(async {
        let each = attempts::<Ours>(bench, url, WAITERS, 1).await;
        let one = attempts::<Ours>(bench, url, 1, WAITERS).await;
        let polling = attempts::<Polling>(bench, url, WAITERS, 1).await;
        let rslock = attempts::<Rslock>(bench, url, WAITERS, 1).await;
        let of_a_process = |attempts| per_second(attempts) / WAITERS as f64;
        let bound = Bound::AtMost(1.0);
        bounded("ours: scripts/s, a process each", of_a_process(each), bound);
        bounded("ours: scripts/s, all in one", per_second(one), bound);
        println!("  {:<32} {:>5.2}", "polling: SET/s, each", of_a_process(polling));
        println!("  {:<32} {:>5.2}", "rslock: SET/s, each", of_a_process(rslock));
    });
}

/// Attempts while `tasks` in each of so many processes wait.
async fn attempts<C: Contender>(bench: &Bench, url: &str, processes: usize, tasks: usize) -> u64 {
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
    tokio::time::sleep(TIME).await;
    let commands = bench.server.commandstats();
    println!(
        "  {:<24} beside that, heartbeats: {} TIME, {} PING",
        C::NAME,
        calls(&commands, "time").saturating_sub(calls(&commands, "evalsha")),
        calls(&commands, "ping"),
    );
    holder.release(guard).await;
    join_all(waiting).await;
    C::attempts(&commands, 0)
}
