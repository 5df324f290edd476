//! Taking a lock that is free, and giving it back: as multiples of a round trip.

use std::time::{Duration, Instant};

use cache_bench::{Bound, Times, bounded};

use crate::Bench;
use crate::contender::Contender;
use crate::ours::Ours;
use crate::peers::polling::Polling;
use crate::peers::rslock::Rslock;
use crate::raw;

/// Taken and given back in one turn.
const TURN: usize = 400;

pub(crate) fn run(bench: &Bench) {
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
            println!("\na free lock, {way}");
            round_trips.report("a round trip, GET");
            scripts.report("our script to acquire, by hand");
            ours.report();
            polling.report();
            rslock.report();
            let round_trip = round_trips.percentile(50);
            let [acquire, release] = [&mut ours.acquire, &mut ours.release]
                .map(|times| times.percentile(50) / round_trip);
            println!(
                "  {:<32} {:>5.2}",
                "acquire / the script by hand",
                ours.acquire.percentile(50) / scripts.percentile(50)
            );
            bounded("acquire / round trip", acquire, Bound::AtMost(1.1));
            bounded("release / round trip", release, Bound::AtMost(1.1));
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

    fn report(&mut self) {
        self.acquire.report(&format!("acquire, {}", C::NAME));
        self.release.report(&format!("release, {}", C::NAME));
    }
}
