//! Taking a lock that is free, and giving it back: as multiples of a round trip.

use std::time::{Duration, Instant};

use cache_bench_kit::{Bound, Table, Times};

use crate::Bench;
use crate::contender::Contender;
use crate::ours::Ours;
use crate::peers::polling::Polling;
use crate::peers::rslock::Rslock;
use crate::raw;

/// Taken and given back in one turn.
const TURN: usize = 400;

pub(crate) fn run(bench: &Bench<'_>) {
    for (way, url) in &bench.ways {
        bench.runtime.block_on(async {
            let mut connection = raw::connection(url).await;
            let (mut ours, mut polling, mut rslock) =
                (Turns::<Ours>::new(url).await, Turns::new(url).await, Turns::new(url).await);
            let mut script = raw::Script::connect(url).await;
            let (mut round_trips, mut scripts) = (Times::default(), Times::default());
            // The first round does not count.
            for round in 0..=bench.rounds {
                let [mut gets, mut acquires] = <[Times; 2]>::default();
                for _ in 0..TURN {
                    let start = Instant::now();
                    raw::get(&mut connection).await;
                    gets.add(start.elapsed());
                }
                for _ in 0..TURN {
                    let start = Instant::now();
                    script.acquire().await;
                    acquires.add(start.elapsed());
                }
                ours.turn(round).await;
                Turns::<Polling>::turn(&mut polling, round).await;
                Turns::<Rslock>::turn(&mut rslock, round).await;
                if round > 0 {
                    round_trips.extend(gets);
                    scripts.extend(acquires);
                }
            }
            let round_trip = round_trips.percentile(50.0);
            let by_hand = ours.acquire.percentile(50.0) / scripts.percentile(50.0);
            let [acquire, release] = [&mut ours.acquire, &mut ours.release]
                .map(|times| times.percentile(50.0) / round_trip);
            let names = [Ours::NAME, Polling::NAME, Rslock::NAME];
            let [[a, b], [c, d], [e, f]] =
                names.map(|name| ["acquire", "release"].map(|what| format!("{what}, {name}")));
            let rows = vec![
                ("a round trip, GET", &mut round_trips),
                ("our script to acquire, by hand", &mut scripts),
                (&*a, &mut ours.acquire),
                (&*b, &mut ours.release),
                (&*c, &mut polling.acquire),
                (&*d, &mut polling.release),
                (&*e, &mut rslock.acquire),
                (&*f, &mut rslock.release),
            ];
            let (id, title) = (format!("locks/free/{way}"), format!("A free lock, {way}"));
            bench.record.table(Table::of_times(id, title, rows));
            let bounded = |what: &str, value| bench.record.bounded(what, value, Bound::AtMost(1.1));
            bounded(&format!("acquire / round trip, {way}"), acquire);
            bounded(&format!("release / round trip, {way}"), release);
            let note = format!("To acquire takes {by_hand:.2} × the script by hand, {way}.");
            bench.record.note(note);
        });
    }
}

struct Turns<C> {
    contender: C,
    acquire: Times,
    release: Times,
}

impl<C: Contender> Turns<C> {
    async fn new(url: &str) -> Self {
        let contender = C::connect(url).await;
        Self { contender, acquire: Times::default(), release: Times::default() }
    }

    async fn turn(&mut self, round: usize) {
        for id in 0..TURN {
            let key = format!("{}:{id}", C::NAME);
            let (start, guard) = (Instant::now(), self.contender.acquire(&key).await);
            let acquired = Instant::now();
            self.contender.release(guard).await;
            let took: [Duration; 2] = [acquired - start, acquired.elapsed()];
            if round > 0 {
                self.acquire.add(took[0]);
                self.release.add(took[1]);
            }
        }
    }
}
