//! Many processes that want one lock all the time: take it, hold it for a millisecond, give it back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cache_bench_kit::{Bound, Orders, Table, Times};
use futures_util::future::join_all;

use crate::Bench;
use crate::contender::Contender;
use crate::ours::Ours;
use crate::peers::polling::Polling;
use crate::peers::rslock::Rslock;
use crate::timer::Timer;

/// Quick, and full.
const CLIENTS: (&[usize], &[usize]) = (&[16, 64], &[4, 16, 64]);
const HOLD: Duration = Duration::from_millis(1);
/// In milliseconds: quick, and full.
const TURN: (u64, u64) = (500, 1_500);

pub(crate) fn run(bench: &Bench<'_>) {
    for (way, url) in &bench.ways {
        for &clients in bench.arguments.choose(CLIENTS.0, CLIENTS.1) {
            let mut ours = Crowd::<Ours>::new(bench, url, clients);
            let mut polling = Crowd::<Polling>::new(bench, url, clients);
            let mut rslock = Crowd::<Rslock>::new(bench, url, clients);
            let mut orders = Orders::of(3);
            for round in 0..=bench.rounds {
                for &contender in orders.round() {
                    match contender {
                        0 => ours.turn(bench, round),
                        1 => polling.turn(bench, round),
                        _ => rslock.turn(bench, round),
                    }
                }
            }
            let title = format!("{clients} clients want one lock, {way}");
            let mut table = Table::new(format!("locks/{clients}/{way}"), title, &COLUMNS);
            table.row(Ours::NAME, &ours.cells());
            table.row(Polling::NAME, &polling.cells());
            table.row(Rslock::NAME, &rslock.cells());
            bench.record.table(table);
            let bounded = |what: &str, value, bound| {
                bench.record.bounded(&format!("{what}, {clients} clients, {way}"), value, bound);
            };
            if clients == 16 {
                bounded("most / least taken by a client", ours.spread(), Bound::AtMost(1.2));
            }
            if clients == 64 {
                bounded("attempts for a lock", ours.attempts(), Bound::AtMost(1.1));
            }
            if clients >= 16 {
                let ratio = ours.rate() / polling.rate();
                bounded("locks per second / polling's", ratio, Bound::AtLeast(0.95));
            }
        }
    }
}

/// What a table says of each.
const COLUMNS: [&str; 7] = [
    "locks a second",
    "attempts a lock",
    "least by a client",
    "most by a client",
    "wait p50 ms",
    "wait p99 ms",
    "connections",
];

/// The clients of one kind, and how they fared.
struct Crowd<C> {
    clients: Vec<Arc<C>>,
    /// Connections of all of them.
    connections: usize,
    /// By each client, in time.
    taken: Vec<u64>,
    /// Per second, in each turn.
    rates: Vec<f64>,
    attempts: u64,
    /// By all clients, also when time was up.
    in_all: u64,
    waits: Times,
}

impl<C: Contender> Crowd<C> {
    fn new(bench: &Bench<'_>, url: &str, clients: usize) -> Self {
        // Those before are gone by then.
        std::thread::sleep(Duration::from_millis(300));
        let before = connections(bench);
        let mut connected = Vec::with_capacity(clients);
        for _ in 0..clients {
            // One after the other: all at once, and through the proxy, some would take too long.
            connected.push(Arc::new(bench.runtime.block_on(C::connect(url))));
        }
        Self {
            clients: connected,
            connections: connections(bench).saturating_sub(before),
            taken: vec![0; clients],
            rates: Vec::new(),
            attempts: 0,
            in_all: 0,
            waits: Times::default(),
        }
    }

    /// The first round is not counted: those who find a lock held for the first time subscribe.
    fn turn(&mut self, bench: &Bench<'_>, round: usize) {
        let before = connections(bench);
        let turn = Duration::from_millis(bench.arguments.choose(TURN.0, TURN.1));
        bench.server.reset_commandstats();
        let (start, end) = (Instant::now(), Instant::now() + turn);
        let tasks = self.clients.iter().map(|client| {
            let client = Arc::clone(client);
            bench.runtime.spawn(async move { work(&*client, end).await })
        });
        let tasks: Vec<_> = tasks.collect();
        let done = bench.runtime.block_on(join_all(tasks));
        if round == 0 {
            self.connections += connections(bench).saturating_sub(before);
            return;
        }
        let (mut in_time, mut in_all) = (0, 0);
        for (client, done) in done.into_iter().enumerate() {
            let (taken, taken_in_all, waits) = done.unwrap();
            (in_time, in_all) = (in_time + taken, in_all + taken_in_all);
            self.taken[client] += taken;
            self.waits.extend(waits);
        }
        self.attempts += C::attempts(&bench.server.commandstats(), in_all);
        self.in_all += in_all;
        self.rates.push(in_time as f64 / (end - start).as_secs_f64());
    }

    /// Per second: the median turn.
    fn rate(&self) -> f64 {
        let mut rates = self.rates.clone();
        rates.sort_by(f64::total_cmp);
        rates[rates.len() / 2]
    }

    /// For each time that the lock was taken.
    fn attempts(&self) -> f64 {
        self.attempts as f64 / self.in_all as f64
    }

    /// What the luckiest client had for each that the unluckiest had.
    fn spread(&self) -> f64 {
        let (least, most) = self.least_and_most();
        most as f64 / least as f64
    }

    fn least_and_most(&self) -> (u64, u64) {
        let [least, most] = [self.taken.iter().min(), self.taken.iter().max()];
        (least.copied().unwrap_or(0), most.copied().unwrap_or(0))
    }

    fn cells(&mut self) -> [Option<f64>; COLUMNS.len()] {
        let (least, most) = self.least_and_most();
        let [median, late] = [50.0, 99.0].map(|percent| self.waits.percentile(percent) / 1e3);
        let (rate, attempts) = (self.rate(), self.attempts());
        let connections = self.connections as f64;
        [rate, attempts, least as f64, most as f64, median, late, connections].map(Some)
    }
}

/// How often it had the lock in time, and at all, and its waits.
async fn work<C: Contender>(client: &C, end: Instant) -> (u64, u64, Times) {
    let (mut in_time, mut in_all, mut waits) = (0, 0, Times::default());
    let mut hold = Timer::new();
    while in_all == in_time {
        let start = Instant::now();
        let guard = client.acquire(C::NAME).await;
        in_all += 1;
        if Instant::now() < end {
            in_time += 1;
            waits.add(start.elapsed());
            hold.sleep_until(Instant::now() + HOLD).await;
        }
        client.release(guard).await;
    }
    (in_time, in_all, waits)
}

fn connections(bench: &Bench<'_>) -> usize {
    bench.server.info("clients")["connected_clients"].parse().unwrap()
}
