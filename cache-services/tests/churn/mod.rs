//! One process of a fleet whose members are killed at random: what it does, and how it is led.
//!
//! All write one history, in a file, and have one database: a file for each key.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use cache_core::{BoxStream, BusEvent, CacheError, InvalidationBus, Policy, Selector};
use cache_testkit::history::{Client, Recorder};
use cache_testkit::{RedisServer, eventually};
use fastrand::Rng;
use futures_util::StreamExt;

use crate::nodes::{LASTING, Node, Parts, overheard, patient};
use crate::planted::{Bug, Planted};

pub(crate) const KEYS: [&str; 3] = ["a:1", "a:2", "b:1"];
/// What a member is told: where, in which directory, which number, which seed and what is wrong with it.
const VARIABLES: [&str; 5] = ["CHURN_URL", "CHURN_DIR", "CHURN_NUMBER", "CHURN_SEED", "CHURN_BUG"];
const TASKS: usize = 3;
const MS: Duration = Duration::from_millis(1);
/// A lease that a killed process leaves is over so soon.
const LEASE: Duration = Duration::from_millis(250);

/// Where the processes have what they share; removed when dropped.
pub(crate) struct Dir(PathBuf);

impl Dir {
    pub(crate) fn make() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("churn-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        let rows = Rows::of(&path, 0);
        for key in KEYS {
            rows.write(key);
        }
        Self(path)
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.0.join("journal")
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The database, as one process has it. No number is written twice.
#[derive(Clone)]
struct Rows {
    dir: PathBuf,
    last: Arc<AtomicU64>,
}

impl Rows {
    fn of(dir: &Path, number: u64) -> Self {
        Self { dir: dir.to_owned(), last: Arc::new(AtomicU64::new(number * 1_000_000)) }
    }

    fn read(&self, key: &str) -> u64 {
        fs::read_to_string(self.dir.join(key)).unwrap().parse().unwrap()
    }

    /// All at once: who reads meanwhile finds the old row or the new one.
    fn write(&self, key: &str) -> u64 {
        let value = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let new = self.dir.join(format!("{value}.new"));
        fs::write(&new, value.to_string()).unwrap();
        fs::rename(new, self.dir.join(key)).unwrap();
        value
    }
}

/// Another process, as the test has it; killed when dropped.
pub(crate) struct Member {
    pub(crate) number: usize,
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Member {
    pub(crate) fn start(
        number: usize,
        seed: u64,
        server: &RedisServer,
        dir: &Dir,
        wrong: Wrong,
    ) -> Self {
        let (dir, told) =
            (dir.0.to_str().unwrap().to_owned(), [number.to_string(), seed.to_string()]);
        let [number_text, seed] = told;
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "member", "--ignored", "--nocapture", "--test-threads=1"])
            .envs(VARIABLES.into_iter().zip([
                server.url(),
                dir,
                number_text,
                seed,
                format!("{wrong:?}"),
            ]))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { number, child, lines }
    }

    /// Waits until it is at work.
    pub(crate) fn ready(&mut self) {
        assert_eq!(self.says(), "ready");
    }

    /// It goes on, if it rests.
    pub(crate) fn go(&mut self) {
        assert_eq!(self.ask("go"), "goes");
    }

    /// It ends what it has begun and begins nothing.
    pub(crate) fn rest(&mut self) {
        assert_eq!(self.ask("rest"), "rests");
    }

    /// It reads every key once, on record.
    pub(crate) fn read_all(&mut self) {
        assert_eq!(self.ask("read"), "has read");
    }

    /// What it holds in its near tier.
    pub(crate) fn look(&mut self) -> BTreeMap<String, u64> {
        let held = self.ask("look");
        let held = held.split_whitespace().skip(1).map(|held| held.split_once('=').unwrap());
        held.map(|(key, value)| (key.to_owned(), value.parse().unwrap())).collect()
    }

    /// `SIGKILL`: it ends where it is.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn ask(&mut self, what: &str) -> String {
        let own = self.child.stdin.as_mut().unwrap();
        own.write_all(format!("{what}\n").as_bytes()).unwrap();
        self.says()
    }

    fn says(&mut self) -> String {
        let said = self.lines.by_ref().map(Result::unwrap).find(|line| line.starts_with("> "));
        said.unwrap_or_else(|| panic!("node {} has ended", self.number)).split_off(2)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn say(what: &str) {
    let mut out = std::io::stdout();
    writeln!(out, "\n> {what}").and_then(|()| out.flush()).unwrap();
}

/// What a member does; nothing in a process that is none.
pub(crate) fn as_member() {
    let [Ok(url), Ok(dir), Ok(number), Ok(seed), Ok(wrong)] = VARIABLES.map(std::env::var) else {
        return;
    };
    let wrong = [Wrong::Nothing, Wrong::FillsBlindly, Wrong::Deaf]
        .into_iter()
        .find(|known| format!("{known:?}") == wrong)
        .unwrap();
    let (number, seed): (usize, u64) = (number.parse().unwrap(), seed.parse().unwrap());
    let dir = Dir(dir.into());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let recorder = Recorder::in_file(&dir.journal()).unwrap();
        let rows = Rows::of(&dir.0, number as u64 + 1);
        // It is the test's.
        std::mem::forget(dir);
        lead(Working::start(&url, (number, seed), recorder, rows, wrong).await).await;
    });
}

/// Does what it is told, until nobody tells it anything.
async fn lead(working: Working) {
    say("ready");
    for line in std::io::stdin().lines() {
        match line.unwrap().as_str() {
            "go" => {
                working.state.rests.store(false, Ordering::SeqCst);
                say("goes");
            }
            "rest" => {
                working.state.rests.store(true, Ordering::SeqCst);
                eventually(|| working.state.busy.load(Ordering::SeqCst) == 0).await;
                say("rests");
            }
            "read" => {
                for key in KEYS {
                    working.client.get(key).await.unwrap();
                }
                say("has read");
            }
            "look" => {
                let held = |key: &&str| Some(format!(" {key}={}", working.node.holds(key)?));
                say(&format!("holds{}", KEYS.iter().filter_map(held).collect::<String>()));
            }
            other => panic!("told {other:?}"),
        }
    }
}

/// What is wrong with the members, to show that it is found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Wrong {
    Nothing,
    /// The far tier stores what is loaded whatever has become of the lease.
    FillsBlindly,
    /// They do not hear of what others change.
    Deaf,
}

#[derive(Debug)]
struct Deaf(Arc<dyn InvalidationBus>);

#[async_trait::async_trait]
impl InvalidationBus for Deaf {
    async fn publish(&self, what: &Selector) -> Result<(), CacheError> {
        self.0.publish(what).await
    }

    fn subscribe(&self) -> BoxStream<'static, BusEvent> {
        let hears = |event: &BusEvent| std::future::ready(!matches!(event, BusEvent::Removed(_)));
        Box::pin(self.0.subscribe().filter(hears))
    }
}

struct Working {
    node: Node,
    client: Client,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    rests: AtomicBool,
    /// Calls under way.
    busy: AtomicUsize,
}

impl Working {
    async fn start(
        url: &str,
        (number, seed): (usize, u64),
        recorder: Recorder,
        rows: Rows,
        wrong: Wrong,
    ) -> Self {
        let own = recorder.clone();
        let bus = Box::new(move |bus: cache_redis::RedisBus| {
            let heard: Arc<dyn InvalidationBus> = Arc::new(bus.clone());
            let heard = if wrong == Wrong::Deaf { Arc::new(Deaf(heard)) } else { heard };
            overheard(bus, own.bus(number, heard))
        });
        let mut parts = Parts { bus, ..Parts::default() };
        if wrong == Wrong::FillsBlindly {
            parts.far = Box::new(|far| Arc::new(Planted::new(far, Bug::FillsBlindly)));
        }
        let node = Node::of(patient(url), parts, |tiers| tiers.far_timeout(MS * 9_000)).await;
        let node = node.in_service().await;
        let client = Client::new(&recorder, number, Arc::new(node.cache.clone()));
        let (state, mut rng) = (Arc::<State>::default(), Rng::with_seed(seed));
        for _ in 0..TASKS {
            let (client, recorder, rows) = (client.clone(), recorder.clone(), rows.clone());
            let (state, rng) = (Arc::clone(&state), rng.fork());
            tokio::spawn(Task { number, client, recorder, rows, state, rng }.run());
        }
        Self { node, client, state }
    }
}

struct Task {
    number: usize,
    client: Client,
    recorder: Recorder,
    rows: Rows,
    state: Arc<State>,
    rng: Rng,
}

impl Task {
    async fn run(mut self) {
        loop {
            // Real time: nothing else makes processes overlap.
            tokio::time::sleep(MS.mul_f64(self.rng.f64() * 3.0)).await;
            // In this order: who rests afterwards finds it busy.
            self.state.busy.fetch_add(1, Ordering::SeqCst);
            if !self.state.rests.load(Ordering::SeqCst) {
                self.call().await;
            }
            self.state.busy.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// What it returns is on record.
    async fn call(&mut self) {
        let Self { client, rows, rng, .. } = self;
        let key = KEYS[rng.usize(..KEYS.len())];
        let policy = Policy::ttl(LASTING).load_timeout(LEASE);
        let policy = if rng.bool() { policy.refresh_ahead(0.000_001) } else { policy };
        match rng.u8(..20) {
            0..=5 => drop(client.get(key).await),
            6..=11 => {
                let loader = self.loader(key);
                drop(self.client.get_or_load(key, policy, loader).await);
            }
            12..=14 => drop(client.set(key, rows.write(key), policy).await),
            kind => {
                let what = match kind {
                    15..=17 => Selector::key(key),
                    18 => Selector::Prefix("a:".to_owned()),
                    _ => Selector::All,
                };
                for key in KEYS.iter().filter(|key| what.matches(key)) {
                    rows.write(key);
                }
                drop(client.remove(&what).await);
            }
        }
    }

    fn loader(
        &mut self,
        key: &'static str,
    ) -> impl FnOnce() -> futures_util::future::BoxFuture<'static, Result<u64, Infallible>>
    + Send
    + 'static {
        let after = MS.mul_f64(self.rng.f64() * 6.0);
        let (number, recorder, rows) = (self.number, self.recorder.clone(), self.rows.clone());
        move || {
            Box::pin(async move {
                let value = recorder.load(number, key, || rows.read(key));
                tokio::time::sleep(after).await;
                Ok(value)
            })
        }
    }
}
