//! Taking a lock that is free, and giving it back: as multiples of a round trip.

use std::time::Instant;

use cache_bench_kit::{Table, Timed, Times, cpu_seconds, take_turns};

use crate::Bench;
use crate::contender::Contender;
use crate::ours::Ours;
use crate::peers::polling::Polling;
use crate::peers::rslock::Rslock;
use crate::raw;

/// Below what one task takes on all cores.
const ONE_TASK: &str = "\
Where the scheduler puts the client decides: a round trip takes some 25 µs beside the server, 60 to 90 on \
another core. The run on one core and the one through the proxy can be read.";
/// Taken and given back in one turn.
const TURN: usize = 200;

pub(crate) fn run(bench: &Bench<'_>) {
    for (way, url) in &bench.ways {
        let runtime = &bench.runtime;
        let mut connection = runtime.block_on(raw::connection(url));
        let mut script = runtime.block_on(raw::Script::connect(url));
        let contestants = vec![
            Timed::new("a round trip, GET", move || {
                runtime.block_on(timed(async || raw::get(&mut connection).await))
            }),
            Timed::new("our script to acquire, by hand", move || {
                runtime.block_on(timed(async || script.acquire().await))
            }),
            taken::<Ours>(bench, url),
            taken::<Polling>(bench, url),
            taken::<Rslock>(bench, url),
        ];
        let mut times = take_turns(contestants, bench.rounds);
        let [by_hand, acquire] = [1, 2].map(|at| times[at].times.percentile(50.0));
        let (id, title) = (format!("locks/free/{way}"), format!("A free lock, {way}"));
        let table = Table::of_latencies(id, title, &mut times);
        let to_be_read = (*way, bench.arguments.pinned) != ("directly", false);
        bench.record.table(if to_be_read { table } else { table.with_note(ONE_TASK) });
        let by_hand = acquire / by_hand;
        let note = format!("To acquire takes {by_hand:.2} × the script by hand, {way}.");
        bench.record.note(note);
    }
}

/// One after the other.
async fn timed(mut act: impl AsyncFnMut()) -> Times {
    let mut times = Times::default();
    for _ in 0..TURN {
        let start = Instant::now();
        act().await;
        times.add(start.elapsed());
    }
    times
}

fn taken<'a, C: Contender>(bench: &'a Bench<'_>, url: &str) -> Timed<'a> {
    let contender = bench.runtime.block_on(C::connect(url));
    let names = ["acquire", "release"].map(|what| format!("{what}, {}", C::NAME));
    Timed::pair(names, move || bench.runtime.block_on(turn(&contender)))
}

async fn turn<C: Contender>(contender: &C) -> [Times; 2] {
    let [mut acquire, mut release] = <[Times; 2]>::default();
    for id in 0..TURN {
        let key = format!("{}:{id}", C::NAME);
        // The processor's clock is read outside of what is timed.
        let cpu = cpu_seconds();
        let start = Instant::now();
        let guard = contender.acquire(&key).await;
        acquire.add(start.elapsed());
        let between = cpu_seconds();
        let start = Instant::now();
        contender.release(guard).await;
        release.add(start.elapsed());
        acquire.spent(between - cpu);
        release.spent(cpu_seconds() - between);
    }
    [acquire, release]
}
