//! A fleet: three processes, each with a near tier, over one Redis.
//!
//! As many loads as keys, how long an invalidation takes to reach the others, and what a storm of writes
//! costs those who only read.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use cache_bench_kit::{Recorder, Table, Times};
use cache_testkit::RedisServer;

use crate::Bench;
use crate::member::{Answer, MEMBER, Order};

const PROCESSES: usize = 3;
const KEYS: usize = 1_000;

pub(crate) fn run(bench: &Bench) {
    let server = RedisServer::start();
    let mut fleet: Vec<_> = (0..PROCESSES).map(|_| Member::start(&server.url())).collect();
    let (requests, writes) = bench.arguments.choose((100_000, 3_000), (300_000, 9_000));
    loads(&bench.record, &mut fleet, requests);
    propagation(&bench.record, &mut fleet);
    storm(&bench.record, &mut fleet, writes);
}

/// All ask for the same keys at the same time.
fn loads(record: &Recorder, fleet: &mut [Member], requests: usize) {
    let answers = all(fleet, &Order::Ask { requests, keys: KEYS });
    let columns = ["requests", "near hits", "far reads", "loads", "s", "loads per key"];
    let title = format!("{PROCESSES} processes ask for {KEYS} keys");
    let mut table = Table::new("fleet/loads", title, &columns);
    let mut loads = 0;
    for (number, answer) in answers.iter().enumerate() {
        let counts = [requests as u64, answer.near_hits, answer.far_reads, answer.loads];
        let [requests, near, far, loaded] = counts.map(|count| Some(count as f64));
        let cells = [requests, near, far, loaded, Some(answer.seconds)];
        table.row(format!("process {number}"), &cells);
        loads += answer.loads;
    }
    let per_key = loads as f64 / KEYS as f64;
    assert!(per_key >= 1.0, "what has not been loaded is not there: {per_key}");
    table.row("all", &[None, None, None, Some(loads as f64), None, Some(per_key)]);
    record.table(table);
}

/// The first removes what all hold.
fn propagation(record: &Recorder, fleet: &mut [Member]) {
    all(fleet, &Order::Tell);
    let begun = fleet[0].obey(&Order::Remove { keys: KEYS }).removals;
    let mut times = Times::default();
    for member in &mut fleet[1..] {
        let mut gone = member.obey(&Order::Tell).removals;
        while gone.len() < KEYS {
            std::thread::sleep(Duration::from_millis(10));
            gone.extend(member.obey(&Order::Tell).removals);
        }
        for (key, when) in gone {
            times.add(Duration::from_nanos(when.saturating_sub(begun[&key])));
        }
    }
    let rows = vec![("invalidate until gone", &mut times)];
    let title = "From an invalidation in one process until it is gone from another";
    record.table(Table::of_times("fleet/propagation", title, rows));
}

/// The first writes one key without pause; the others read it every millisecond.
fn storm(record: &Recorder, fleet: &mut [Member], writes: usize) {
    for member in &mut fleet[1..] {
        member.obey(&Order::Watch);
    }
    let before = all(fleet, &Order::Tell);
    let wrote = fleet[0].obey(&Order::Storm { writes });
    let after = all(fleet, &Order::Rest);
    let columns = ["far reads a write", "messages a write", "CPU µs a write"];
    let rate = writes as f64 / wrote.seconds;
    let title = format!("A storm of {writes} writes of one key, {rate:.0} a second");
    let mut table = Table::new("fleet/storm", title, &columns);
    for (number, (before, after)) in before.iter().zip(&after).enumerate() {
        let far = (after.far_reads - before.far_reads) as f64;
        let heard = (after.heard - before.heard) as f64;
        let cells = [far, heard, (after.cpu - before.cpu) * 1e6];
        let name = if number == 0 { "who writes" } else { "who reads every millisecond" };
        table.row(format!("{name} ({number})"), &cells.map(|sum| Some(sum / writes as f64)));
    }
    record.table(table);
}

/// All at the same time.
fn all(fleet: &mut [Member], order: &Order) -> Vec<Answer> {
    fleet.iter_mut().for_each(|member| member.tell(order));
    fleet.iter_mut().map(Member::answer).collect()
}

/// This program again, as one of the fleet. Ends with its standard input.
struct Member {
    process: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Member {
    fn start(url: &str) -> Self {
        let program = std::env::current_exe().unwrap();
        let mut command = Command::new(program);
        command.args([MEMBER, url]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let (orders, answers) = (process.stdin.take(), process.stdout.take().unwrap());
        let mut member = Self { process, orders, answers: BufReader::new(answers) };
        // It has served its near tier by then.
        member.obey(&Order::Tell);
        member
    }

    fn tell(&mut self, order: &Order) {
        let line = serde_json::to_string(order).unwrap();
        writeln!(self.orders.as_mut().unwrap(), "{line}").unwrap();
    }

    fn answer(&mut self) -> Answer {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    fn obey(&mut self, order: &Order) -> Answer {
        self.tell(order);
        self.answer()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        drop(self.orders.take());
        let _ = self.process.wait();
    }
}
