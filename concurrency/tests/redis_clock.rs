//! Scenario 41: the server's clock jumps. A server cannot be given another clock from outside, so
//! what a jump does is done by hand: ahead, it ends TTLs early and draws a fence from the future;
//! back again, it draws fences from the past.
#![allow(clippy::unwrap_used, reason = "test code, also outside of test functions")]

mod redis_common;

use std::future::pending;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cache_core::{ConcurrencyService, ConcurrencyServiceExt, HeldLock, LockErrorKind};
use cache_testkit::lock_history::{FencedRegister, LockRecorder};
use cache_testkit::{RedisServer, eventually};
use redis_common::{FENCE, LOCK, at_rest, hold, lease, patient};

const HOUR: Duration = Duration::from_secs(3_600);

/// Microseconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros().try_into().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_41_a_clock_that_jumps_ahead_and_back_costs_the_lease_and_no_fence() {
    let server = RedisServer::start();
    let (locks, other) = (patient(&server.url()).await, patient(&server.url()).await);
    let register = FencedRegister::new(&LockRecorder::new(), "k");
    let (mut old, began) = (0, Instant::now());
    let section = |held: HeldLock| {
        old = u64::from(held.fencing_token());
        let (server, register) = (&server, &register);
        async move {
            register.write(0, held.fencing_token().into(), 1).unwrap();
            // An hour ahead all is over that had a shorter life.
            server.command(&["PEXPIRE", LOCK, "1"]);
            pending::<()>().await;
        }
    };
    let error = locks.with_lock_opts("k", &lease(900), section).await.unwrap_err();
    assert_eq!(error.kind(), LockErrorKind::LeaseLost);
    // With the next renewal, after a third of the lease.
    assert!(began.elapsed() < Duration::from_millis(900), "{:?}", began.elapsed());

    // Granted by the clock that is ahead.
    let ahead = now() + u64::try_from(HOUR.as_micros()).unwrap();
    server.command(&["SET", FENCE, &ahead.to_string(), "PX", "60000"]);
    register.write(1, ahead, 2).unwrap();
    assert!(register.write(0, old, 1).is_err());

    // And back: an hour long the clock shows less than the last fence.
    let mut last = ahead;
    for _ in 0..3 {
        for locks in [&locks, &other] {
            let guard = hold(locks).await;
            let fence = u64::from(guard.fencing_token());
            assert_eq!(fence, last + 1);
            register.write(2, fence, fence).unwrap();
            assert_eq!(server.command(&["GET", FENCE]).text(), fence.to_string());
            guard.release().await.unwrap();
            last = fence;
        }
    }
    assert!(register.write(1, ahead, 2).is_err());
    at_rest(&server);
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_41_a_clock_that_jumps_back_prolongs_a_lock_and_not_its_lease() {
    let server = RedisServer::start();
    let (locks, other) = (patient(&server.url()).await, patient(&server.url()).await);
    let guard = locks.acquire("k", &lease(300).renew(false)).await.unwrap();
    // An hour back, what was to end soon ends an hour later.
    server.command(&["PEXPIRE", LOCK, &HOUR.as_millis().to_string()]);
    assert_eq!(guard.lost().await.kind(), LockErrorKind::LeaseLost);
    assert!(other.try_acquire("k", &lease(300)).await.unwrap().is_none());
    // Who is asked for help finds the fence, and takes it away.
    let fence = other.inspect("k").await.unwrap().unwrap().fencing_token;
    assert_eq!(fence, guard.fencing_token());
    assert!(other.force_release("k", fence).await.unwrap());
    let next = hold(&other).await;
    assert!(next.fencing_token() > fence);
    // Too late, and harmless.
    drop(guard);
    next.check().unwrap();
    next.release().await.unwrap();
    eventually(|| other.held() + locks.held() == 0).await;
    at_rest(&server);
}
