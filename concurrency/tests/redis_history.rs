//! Scenarios 42 and 43, after Jepsen's test of etcd's locks: clients count under one lock while they
//! are halted, their connections fail and the server is restarted. A counter that knows fences
//! loses no update, and the history is that of a lock. `LOCK_HISTORY_SECONDS` runs it for longer,
//! with longer leases. All sleeps are real time: what is halted and cut off are sockets and processes.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "test code, also outside of test functions"
)]

mod redis_common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use cache_concurrency::RedisConcurrencyService;
use cache_core::{
    Clock, ConcurrencyService, FencingToken, LockError, LockErrorKind, LockGuard, LockInfo,
    LockLease, LockOptions, LockRelease, LockReleasing, Timestamp,
};
use cache_redis::{Call, Connections, Lane, RedisConfig};
use cache_testkit::lock_history::{
    Exclusion, FencedRegister, LockClient, LockHistory, LockRecorder, LockViolation, check_locks,
};
use cache_testkit::{Direction, FaultProxy, RedisServer, eventually};
use fastrand::Rng;
use redis_common::{at_rest, lease, patient};

const MS: Duration = Duration::from_millis(1);
const CLIENTS: usize = 5;
const KEY: &str = "k";

/// How long it runs, and with which lease.
fn terms() -> (Duration, Duration) {
    match std::env::var("LOCK_HISTORY_SECONDS") {
        Ok(seconds) => (Duration::from_secs(seconds.parse().unwrap()), MS * 2_000),
        Err(_) => (MS * 5_000, MS * 400),
    }
}

/// What all clients share.
struct Bench {
    recorder: LockRecorder,
    register: FencedRegister,
    /// The same without fences, for comparison.
    naive: AtomicU64,
    acknowledged: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
    lease: Duration,
    end: Instant,
}

/// One client: a thread with a runtime of its own, so that blocking the thread halts all of it, as
/// `SIGSTOP` halts a process.
fn client(number: usize, url: &str, bench: &Bench, mut rng: Rng) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let config = RedisConfig::from_url(url)
            .unwrap()
            .operation_timeout(bench.lease / 4)
            .heartbeat_interval(bench.lease / 4)
            .heartbeat_timeout(bench.lease / 4);
        let locks = RedisConcurrencyService::connect_degraded(config).unwrap();
        let client = LockClient::new(&bench.recorder, number, Arc::new(locks.clone()));
        let (mut halts, lease) = (rng.fork(), bench.lease);
        let end = bench.end;
        let halted = tokio::spawn(async move {
            while Instant::now() < end {
                tokio::time::sleep(lease.mul_f64(halts.f64() * 4.0)).await;
                std::thread::sleep(lease.mul_f64(halts.f64() * 1.5));
            }
        });
        while Instant::now() < bench.end {
            count(number, &client, bench, &mut rng).await;
        }
        halted.await.unwrap();
        locks.shutdown().await;
        assert_eq!(locks.held(), 0);
    });
}

/// Reads, sleeps, writes.
async fn count(number: usize, client: &LockClient, bench: &Bench, rng: &mut Rng) {
    let options = LockOptions::default().lease(bench.lease).wait(bench.lease * 4);
    let guard = match client.acquire(KEY, &options).await {
        Ok(guard) => guard,
        Err(error) => {
            use LockErrorKind::{LeaseLost, Timeout, Unavailable};
            assert!(matches!(error.kind(), Timeout | Unavailable | LeaseLost), "{error}");
            bench.failed.fetch_add(1, SeqCst);
            // Where Redis is not there an error comes at once.
            return tokio::time::sleep(MS).await;
        }
    };
    let fence = guard.fence();
    let naive = bench.naive.load(SeqCst);
    if let Ok(value) = bench.register.read(number, fence) {
        tokio::time::sleep(MS * rng.u32(0..5)).await;
        if guard.check().is_ok() {
            if rng.u8(..50) == 0 {
                // Halted between the last look at the lease and the write: the case for fences.
                std::thread::sleep(bench.lease.mul_f64(0.5 + rng.f64()));
            }
            bench.naive.store(naive + 1, SeqCst);
            match bench.register.write(number, fence, value + 1) {
                Ok(()) => bench.acknowledged.fetch_add(1, SeqCst),
                Err(_) => bench.refused.fetch_add(1, SeqCst),
            };
        }
    }
    // Lost, or not told in time: it is on record.
    let _ = guard.release().await;
}

/// Does things to the server and to connections. Nothing makes the server forget: what it has
/// said is on its disk.
fn trouble(server: &RedisServer, proxies: &[FaultProxy], bench: &Bench, mut rng: Rng) {
    while Instant::now() < bench.end {
        let proxy = &proxies[rng.usize(..proxies.len())];
        let lasts = bench.lease.mul_f64(rng.f64());
        match rng.u8(..12) {
            0..=3 => {
                proxy.latency(bench.lease.mul_f64(rng.f64() / 16.0));
                std::thread::sleep(lasts);
            }
            4 => proxy.reset_connections(),
            5 => proxy.cut(),
            6 | 7 => {
                let ways = [Direction::Both, Direction::ToClient, Direction::ToServer];
                proxy.black_hole(ways[rng.usize(..3)]);
                std::thread::sleep(lasts);
            }
            8 => proxy.cut_after_forwarding(rng.u64(1..4)),
            9 => {
                server.pause();
                std::thread::sleep(lasts);
                server.resume();
            }
            10 => {
                server.kill();
                server.restart();
            }
            _ => drop(server.command(&["CLIENT", "KILL", "TYPE", "pubsub"])),
        }
        std::thread::sleep(bench.lease.mul_f64(rng.f64() / 2.0));
        proxy.heal();
    }
    proxies.iter().for_each(FaultProxy::heal);
}

/// A network that is slow now and then, up to 300 ms there and back, and loses a connection in a hundred.
fn weather(_: &RedisServer, proxies: &[FaultProxy], bench: &Bench, mut rng: Rng) {
    while Instant::now() < bench.end {
        for proxy in proxies {
            // Of leases of two seconds: 150 ms each way.
            proxy.latency(bench.lease.mul_f64(rng.f64() * 0.075));
            if rng.u8(..100) == 0 {
                proxy.reset_connections();
            }
        }
        std::thread::sleep(MS * 50);
    }
    proxies.iter().for_each(FaultProxy::heal);
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_42_and_43_counting_with_fences_loses_nothing_while_everything_fails() {
    count_under(trouble, 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_42_counting_with_fences_loses_nothing_over_a_bad_network() {
    count_under(weather, 5).await;
}

/// Five clients count while `nemesis` does what it does, and get to count more often than `least`.
async fn count_under(nemesis: fn(&RedisServer, &[FaultProxy], &Bench, Rng), least: u64) {
    let (seconds, lease) = terms();
    let server = RedisServer::builder().persistent().config("appendfsync always").start();
    let recorder = LockRecorder::new();
    let bench = Bench {
        register: FencedRegister::new(&recorder, KEY),
        recorder,
        naive: AtomicU64::new(0),
        acknowledged: AtomicU64::new(0),
        refused: AtomicU64::new(0),
        failed: AtomicU64::new(0),
        lease,
        end: Instant::now() + seconds,
    };
    let seed = fastrand::u64(..);
    let mut rng = Rng::with_seed(seed);
    let proxies: Vec<_> = (0..CLIENTS).map(|_| FaultProxy::start(&server.url())).collect();
    std::thread::scope(|scope| {
        for (number, proxy) in proxies.iter().enumerate() {
            let (url, rng, bench) = (proxy.url(&server.url()), rng.fork(), &bench);
            scope.spawn(move || client(number, &url, bench, rng));
        }
        nemesis(&server, &proxies, &bench, rng.fork());
    });
    let [acknowledged, refused, failed, naive] =
        [&bench.acknowledged, &bench.refused, &bench.failed, &bench.naive]
            .map(|count| count.load(SeqCst));
    let figures = format!(
        "seed {seed}: {acknowledged} counted, {refused} refused, {failed} not granted; without fences \
         {naive} would be left of {}",
        acknowledged + refused
    );
    println!("{figures}");
    assert!(acknowledged > least, "nothing to see: {figures}");
    assert_eq!(bench.register.value(), acknowledged, "updates were lost: {figures}");
    let history = bench.recorder.history();
    check_locks(&history, Exclusion::Required)
        .unwrap_or_else(|violation| panic!("{violation}\n{figures}"));
    // All is well again, and nobody has left anything.
    let locks = patient(&server.url()).await;
    locks.acquire(KEY, &LockOptions::default()).await.unwrap().release().await.unwrap();
    eventually(|| server.command(&["KEYS", "*}.[lqw]"]).list().is_empty()).await;
    at_rest(&server);
}

/// What is wrong with a lock that many write by hand.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// It deletes the key at its release, whosever it is.
    ReleasesOthers,
    /// It takes no notice of the end of its lease.
    OutlivesItsLease,
}

#[derive(Clone, Debug)]
struct SetNx {
    redis: Connections,
    fault: Fault,
}

const CALL: Call = Call::new(Lane::Small);

struct Delete(Connections, Arc<AtomicBool>);

impl LockRelease for Delete {
    fn release(&self, lease: &LockLease) -> LockReleasing {
        let (redis, gone, key) = (self.0.clone(), Arc::clone(&self.1), lease.key().to_owned());
        LockReleasing::Pending(Box::pin(async move {
            if !gone.swap(true, SeqCst) {
                let mut delete = redis::cmd("DEL");
                delete.arg(key);
                redis.query::<i64>(CALL, &delete).await.unwrap();
            }
            Ok(())
        }))
    }
}

#[async_trait]
impl ConcurrencyService for SetNx {
    async fn acquire(&self, key: &str, options: &LockOptions) -> Result<LockGuard, LockError> {
        let clock = Clock::system();
        let deadline = clock.now() + options.wait_duration();
        while clock.is_before(deadline) {
            if let Some(guard) = self.try_acquire(key, options).await? {
                return Ok(guard);
            }
            tokio::time::sleep(MS * 5).await;
        }
        Err(LockError::new(LockErrorKind::Timeout, "held"))
    }

    async fn try_acquire(
        &self,
        key: &str,
        options: &LockOptions,
    ) -> Result<Option<LockGuard>, LockError> {
        let (clock, lease) = (Clock::system(), options.lease_duration());
        let sent = clock.now();
        let mut set = redis::cmd("SET");
        set.arg(key).arg("x").arg("NX").arg("PX").arg(u64::try_from(lease.as_millis()).unwrap());
        if self.redis.query::<Option<String>>(CALL, &set).await.unwrap().is_none() {
            return Ok(None);
        }
        let mut fence = redis::cmd("INCR");
        fence.arg(format!("{key}.fence"));
        let fence = FencingToken(self.redis.query(CALL, &fence).await.unwrap());
        let valid = match self.fault {
            Fault::ReleasesOthers => sent + lease,
            Fault::OutlivesItsLease => Timestamp::MAX,
        };
        let lease = LockLease::new(key.into(), fence, &clock, valid, Timestamp::MAX);
        let release = Delete(self.redis.clone(), Arc::default());
        Ok(Some(LockGuard::new(lease, Arc::new(release))))
    }

    async fn inspect(&self, _: &str) -> Result<Option<LockInfo>, LockError> {
        Ok(None)
    }

    async fn force_release(&self, _: &str, _: FencingToken) -> Result<bool, LockError> {
        Ok(false)
    }

    async fn shutdown(&self) {}
}

/// One holder sleeps past its lease, without renewal, and two others come.
async fn past_its_lease(locks: Arc<dyn ConcurrencyService>) -> LockHistory {
    let recorder = LockRecorder::new();
    let client = |number| LockClient::new(&recorder, number, Arc::clone(&locks));
    let late = client(0).acquire(KEY, &lease(150).renew(false)).await.unwrap();
    // Waits for the end of the lease; real time is what that is about.
    let next = client(1).acquire(KEY, &lease(5_000)).await.unwrap();
    let _ = late.check();
    let _ = late.release().await;
    let third = client(2).acquire(KEY, &lease(5_000).wait(MS * 300)).await;
    next.check().unwrap();
    next.release().await.unwrap();
    drop(third);
    recorder.history()
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_43_a_lock_by_hand_is_found_out() {
    let server = RedisServer::start();
    let locks = patient(&server.url()).await;
    let history = past_its_lease(Arc::new(locks.clone())).await;
    assert_eq!(history.holds.len(), 2);
    check_locks(&history, Exclusion::Required).unwrap();
    for fault in [Fault::ReleasesOthers, Fault::OutlivesItsLease] {
        server.flush();
        let redis = locks.connections().clone();
        let history = past_its_lease(Arc::new(SetNx { redis, fault })).await;
        let found = check_locks(&history, Exclusion::Required).unwrap_err();
        assert!(matches!(*found, LockViolation::Overlap { .. }), "{fault:?}: {found}");
    }
}
