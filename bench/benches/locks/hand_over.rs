//! From the moment a holder begins the release to the moment a waiter's section runs, in another
//! process, so to speak.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cache_bench_kit::{Bound, Table, Times};

use crate::Bench;
use crate::contender::Contender;
use crate::ours::Ours;
use crate::peers::polling::Polling;
use crate::peers::rslock::Rslock;
use crate::raw;

/// Hand-overs in one turn.
const TURN: usize = 20;
/// How long all is quiet before the release, so that the waiter is in line, and everybody's cores are
/// cold: this, and between nothing and one pause of those who poll, so that the release finds them
/// anywhere in theirs.
const AT_LEAST: Duration = Duration::from_millis(10);
const UP_TO: f64 = 0.05;

pub(crate) fn run(bench: &Bench<'_>) {
    for (way, url) in &bench.ways {
        bench.runtime.block_on(async {
            let (ours, polling, rslock) = (
                Pair::<Ours>::connect(url).await,
                Pair::<Polling>::connect(url).await,
                Pair::<Rslock>::connect(url).await,
            );
            let mut heard = raw::Heard::connect(url).await;
            let [mut round_trips, mut messages] = <[Times; 2]>::default();
            let mut times = <[Times; 3]>::default();
            for round in 0..=bench.rounds {
                let turns = [ours.turn().await, polling.turn().await, rslock.turn().await];
                let [mut gets, mut publishes] = <[Times; 2]>::default();
                for _ in 0..TURN {
                    quiet().await;
                    gets.add(heard.get().await);
                    quiet().await;
                    publishes.add(heard.publish().await);
                }
                if round > 0 {
                    round_trips.extend(gets);
                    messages.extend(publishes);
                    times.iter_mut().zip(turns).for_each(|(times, turn)| times.extend(turn));
                }
            }
            let [mut ours, mut polling, mut rslock] = times;
            let rows = vec![
                ("a round trip, GET", &mut round_trips),
                ("PUBLISH, until it is heard, raw", &mut messages),
                (Ours::NAME, &mut ours),
                (Polling::NAME, &mut polling),
                (Rslock::NAME, &mut rslock),
            ];
            let (id, title) = (format!("locks/hand-over/{way}"), format!("A hand-over, {way}"));
            bench.record.table(Table::of_times(id, title, rows));
            let (round_trip, message) = (round_trips.percentile(50.0), messages.percentile(50.0));
            let [ours, polling, rslock] =
                [ours, polling, rslock].map(|mut times| times.percentile(50.0));
            let bounded = |what: &str, value, bound| {
                bench.record.bounded(&format!("{what}, {way}"), value, bound);
            };
            bounded("hand-over / round trip", ours / round_trip, Bound::AtMost(1.2));
            bounded("hand-over / round trip, fallback", ours / round_trip, Bound::AtMost(2.2));
            bounded("polling / ours", polling / ours, Bound::AtLeast(10.0));
            bounded("rslock / ours", rslock / ours, Bound::AtLeast(10.0));
            let ratio = ours / message;
            bench.record.note(format!("A hand-over takes {ratio:.2} × a raw PUBLISH, {way}."));
        });
    }
}

struct Pair<C> {
    holder: C,
    waiter: Arc<C>,
}

impl<C: Contender> Pair<C> {
    async fn connect(url: &str) -> Self {
        Self { holder: C::connect(url).await, waiter: Arc::new(C::connect(url).await) }
    }

    async fn turn(&self) -> Times {
        let mut times = Times::default();
        for _ in 0..TURN {
            let guard = self.holder.acquire(C::NAME).await;
            let waiter = Arc::clone(&self.waiter);
            let runs = tokio::spawn(async move {
                let guard = waiter.acquire(C::NAME).await;
                let runs = Instant::now();
                waiter.release(guard).await;
                runs
            });
            quiet().await;
            let released = Instant::now();
            self.holder.release(guard).await;
            times.add(runs.await.unwrap().saturating_duration_since(released));
        }
        times
    }
}

async fn quiet() {
    tokio::time::sleep(AT_LEAST + Duration::from_secs_f64(fastrand::f64() * UP_TO)).await;
}
