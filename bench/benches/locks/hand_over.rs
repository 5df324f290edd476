//! From the moment a holder begins the release to the moment a waiter's section runs, in another
//! process, so to speak.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cache_bench_kit::{Latencies, Table, Timed, Times, take_turns};

use crate::Bench;
use crate::contender::Contender;
use crate::ours::Ours;
use crate::peers::polling::Polling;
use crate::peers::rslock::Rslock;
use crate::raw;

/// Hand-overs in one turn of those who are told, so many that all turns have a 99th percentile, and of
/// those who poll, which take their time.
const TOLD: usize = 50;
const POLLED: usize = 6;
/// How long all is quiet before the release, so that the waiter is in line, and everybody's cores are
/// cold: this, and for those who poll between nothing and one pause of theirs, so that the release finds
/// them anywhere in it.
const AT_LEAST: Duration = Duration::from_millis(8);
const UP_TO: f64 = 0.05;

pub(crate) fn run(bench: &Bench<'_>) {
    let runtime = &bench.runtime;
    for (way, url) in &bench.ways {
        let mut connection = runtime.block_on(raw::connection(url));
        let mut heard = runtime.block_on(raw::Heard::connect(url));
        let contestants = vec![
            Timed::new("a round trip, GET", move || {
                runtime.block_on(quietly(async || raw::round_trip(&mut connection).await))
            }),
            Timed::new("PUBLISH, until it is heard, raw", move || {
                runtime.block_on(quietly(async || heard.publish().await))
            }),
            pair::<Ours>(bench, url, (TOLD, 0.0)),
            pair::<Polling>(bench, url, (POLLED, UP_TO)),
            pair::<Rslock>(bench, url, (POLLED, UP_TO)),
        ];
        let mut times = take_turns(contestants, 2 * bench.rounds);
        let p50 = |latencies: &mut Latencies| latencies.times.percentile(50.0);
        let p50s: Vec<_> = times.iter_mut().map(p50).collect();
        let (id, title) = (format!("locks/hand-over/{way}"), format!("A hand-over, {way}"));
        bench.record.table(Table::of_latencies(id, title, &mut times));
        let [message, ours] = [1, 2].map(|at| p50s[at]);
        let ratio = ours / message;
        bench.record.note(format!("A hand-over takes {ratio:.2} × a raw PUBLISH, {way}."));
    }
}

/// What each of a turn's operations says that it took.
async fn quietly(mut act: impl AsyncFnMut() -> Duration) -> Times {
    let mut times = Times::default();
    for _ in 0..TOLD {
        quiet(0.0).await;
        times.add(act().await);
    }
    times
}

fn pair<'a, C: Contender>(
    bench: &'a Bench<'_>,
    url: &str,
    (turn, up_to): (usize, f64),
) -> Timed<'a> {
    let runtime = &bench.runtime;
    let (holder, waiter) = (runtime.block_on(C::connect(url)), runtime.block_on(C::connect(url)));
    let pair = Pair { holder, waiter: Arc::new(waiter) };
    Timed::new(C::NAME, move || runtime.block_on(pair.turn(turn, up_to)))
}

struct Pair<C> {
    holder: C,
    waiter: Arc<C>,
}

impl<C: Contender> Pair<C> {
    async fn turn(&self, count: usize, up_to: f64) -> Times {
        let mut times = Times::default();
        for _ in 0..count {
            let guard = self.holder.acquire(C::NAME).await;
            let waiter = Arc::clone(&self.waiter);
            let runs = tokio::spawn(async move {
                let guard = waiter.acquire(C::NAME).await;
                let runs = Instant::now();
                waiter.release(guard).await;
                runs
            });
            quiet(up_to).await;
            let released = Instant::now();
            self.holder.release(guard).await;
            times.add(runs.await.unwrap().saturating_duration_since(released));
        }
        times
    }
}

async fn quiet(up_to: f64) {
    tokio::time::sleep(AT_LEAST + Duration::from_secs_f64(fastrand::f64() * up_to)).await;
}
