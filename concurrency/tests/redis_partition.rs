//! Scenario 31: the holder is cut off from Redis, the one who waits is not.

mod redis_common;

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use cache_core::{ConcurrencyService, ConcurrencyServiceExt, HeldLock, LockErrorKind, LockOptions};
use cache_testkit::lock_history::{FencedRegister, LockRecorder};
use cache_testkit::{Direction, FaultProxy, RedisServer, eventually};
use redis_common::{at_rest, hold, lease, pttl, queued, service};

#[tokio::test(flavor = "multi_thread")]
async fn p4_31_a_holder_cut_off_from_redis_has_stopped_before_the_next_begins() {
    let server = RedisServer::start();
    let proxy = FaultProxy::start(&server.url());
    let (locks, other) = (service(&proxy.url(&server.url())).await, service(&server.url()).await);
    let register = FencedRegister::new(&LockRecorder::new(), "k");
    for cut in [true, false] {
        let (last, inside) = (OnceLock::new(), OnceLock::new());
        let options = lease(500);
        let section = |held: HeldLock| {
            let (last, inside, register) = (&last, &inside, &register);
            let mut effects = Effects { last, latest: Instant::now() };
            async move {
                inside.set(u64::from(held.fencing_token())).unwrap();
                loop {
                    // The moment of a side effect; it is one if the lease still ran after it.
                    let now = Instant::now();
                    if held.check().is_ok() {
                        effects.happen(now);
                        register.write(0, held.fencing_token().into(), 0).unwrap();
                    }
                    // Real time: many await points, as a section has them.
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
        };
        let holder = locks.with_lock_opts("k", &options, section);
        let rest = async {
            eventually(|| inside.get().is_some()).await;
            let waiter = tokio::spawn({
                let other = other.clone();
                async move { (hold(&other).await, Instant::now()) }
            });
            eventually(|| queued(&server) == 1).await;
            // Just after a renewal.
            eventually(|| pttl(&server) < 360).await;
            eventually(|| pttl(&server) > 440).await;
            if cut {
                proxy.cut();
            } else {
                proxy.black_hole(Direction::Both);
            }
            waiter.await.unwrap()
        };
        let (outcome, (next, first)): (Result<(), _>, _) = tokio::join!(holder, rest);
        assert_eq!(outcome.unwrap_err().kind(), LockErrorKind::LeaseLost);
        let last = *last.get().unwrap();
        assert!(last < first, "{:?} after the next had begun", last - first);
        let (old, new) = (*inside.get().unwrap(), u64::from(next.fencing_token()));
        register.read(1, new).unwrap();
        assert!(register.write(0, old, 1).is_err(), "a fence that does not increase");
        proxy.heal();
        next.release().await.unwrap();
        let taken = async || locks.acquire("k", &LockOptions::default()).await.is_ok();
        cache_testkit::eventually_async(taken).await;
    }
    eventually(|| locks.held() == 0 && pttl(&server) < 0).await;
    // What was sent into the black hole is answered by nobody: it is all over by now.
    at_rest(&server);
}

/// When a section did something last; told when it is dropped.
struct Effects<'a> {
    last: &'a OnceLock<Instant>,
    latest: Instant,
}

impl Effects<'_> {
    fn happen(&mut self, now: Instant) {
        self.latest = now;
    }
}

impl Drop for Effects<'_> {
    fn drop(&mut self) {
        let _ = self.last.set(self.latest);
    }
}
