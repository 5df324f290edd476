//! Many processes that want one lock all the time: take it, hold it for a millisecond, give it back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cache_bench_kit::{Orders, Spread, Table, Times, cpu_seconds};
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
const TURN: (u64, u64) = (400, 800);

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
            ours.row(&mut table);
            polling.row(&mut table);
            rslock.row(&mut table);
            bench.record.table(table);
        }
    }
}

/// What a table says of each.
const COLUMNS: [&str; 9] = [
    "locks a second",
    "attempts a lock",
    "commands a lock",
    "least by a client",
    "most by a client",
    "wait p50 ms",
    "wait p99 ms",
    "connections",
    "client CPU µs a lock",
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
    commands: u64,
    /// By all clients, also when time was up.
    in_all: u64,
    waits: Times,
    /// Seconds of the processor, the proxy's among them.
    cpu: f64,
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
            commands: 0,
            in_all: 0,
            waits: Times::default(),
            cpu: 0.0,
        }
    }

    /// The first round is not counted: those who find a lock held for the first time subscribe.
    fn turn(&mut self, bench: &Bench<'_>, round: usize) {
        let before = connections(bench);
        let turn = Duration::from_millis(bench.arguments.choose(TURN.0, TURN.1));
        bench.server.reset_commandstats();
        let cpu = cpu_seconds();
        let (start, end) = (Instant::now(), Instant::now() + turn);
        let tasks = self.clients.iter().map(|client| {
            let client = Arc::clone(client);
            bench.runtime.spawn(async move { work(&*client, end).await })
        });
        let tasks: Vec<_> = tasks.collect();
        let done = bench.runtime.block_on(join_all(tasks));
        let cpu = cpu_seconds() - cpu;
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
        let stats = bench.server.commandstats();
        self.attempts += C::attempts(&stats, in_all);
        self.commands += C::commands(&stats);
        self.in_all += in_all;
        self.cpu += cpu;
        self.rates.push(in_time as f64 / (end - start).as_secs_f64());
    }

    fn row(&mut self, table: &mut Table) {
        let each = |sum: f64| sum / self.in_all as f64;
        let [attempts, commands] = [self.attempts, self.commands].map(|count| each(count as f64));
        let cpu = each(self.cpu * 1e6);
        let [least, most] = [self.taken.iter().min(), self.taken.iter().max()];
        let [least, most] = [least, most].map(|taken| taken.copied().unwrap_or(0) as f64);
        let [median, late] = [50.0, 99.0].map(|percent| self.waits.percentile(percent) / 1e3);
        let rate = Spread::of(self.rates.iter().copied()).median;
        let connections = self.connections as f64;
        let cells = [rate, attempts, commands, least, most, median, late, connections, cpu];
        table.sampled_row(C::NAME, &cells.map(Some), &self.rates);
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
        // Those that end when time is up, too: who starves has waited.
        waits.add(start.elapsed());
        if Instant::now() < end {
            in_time += 1;
            hold.sleep_until(Instant::now() + HOLD).await;
        }
        client.release(guard).await;
    }
    (in_time, in_all, waits)
}

fn connections(bench: &Bench<'_>) -> usize {
    bench.server.info("clients")["connected_clients"].parse().unwrap()
}
