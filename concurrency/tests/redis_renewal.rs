//! Renewals of many locks.

mod redis_common;

use std::time::{Duration, Instant};

use cache_core::ConcurrencyService;
use cache_testkit::RedisServer;
use futures_util::future::join_all;
use redis_common::{at_rest, lease, patient, scripts};

#[tokio::test(flavor = "multi_thread")]
async fn p4_15_of_250_locks_a_hundred_are_renewed_in_one_script() {
    const LOCKS: usize = 250;
    const LEASE: Duration = Duration::from_secs(2);
    let server = RedisServer::start();
    let locks = patient(&server.url()).await;
    let (keys, options) = ((0..LOCKS).map(|n| format!("k{n}")), lease(2_000));
    let keys: Vec<_> = keys.collect();
    let guards = join_all(keys.iter().map(|key| locks.acquire(key, &options))).await;
    let guards: Vec<_> = guards.into_iter().map(Result::unwrap).collect();
    assert_eq!(locks.held(), LOCKS);
    server.reset_commandstats();
    let began = Instant::now();
    // Real time: renewals come by it. No lock is believed in for longer than the server has it.
    while began.elapsed() < LEASE * 2 {
        for (key, guard) in keys.iter().zip(&guards).step_by(25) {
            let (asked, here) = (Instant::now(), guard.remaining());
            let there = server.command(&["PTTL", &format!("{{lock/cache/{key}}}.l")]).integer();
            let there = Duration::from_millis(there.try_into().expect("it is held"));
            assert!(there > LEASE / 2, "{key}: {there:?} left on the server");
            assert!(here <= there + asked.elapsed(), "{key}: {here:?} here, {there:?} there");
            guard.check().unwrap();
        }
        // Real time, as renewals are.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let asked = scripts(&server);
    // Each third of the lease three scripts would do. Those that were acquired one after the
    // other are not due at once, but come together soon.
    let rounds = u64::try_from(began.elapsed().as_millis() / (LEASE.as_millis() / 3)).unwrap() + 1;
    assert!(asked <= 5 * rounds, "{asked} scripts in {rounds} rounds");
    join_all(guards.into_iter().map(cache_core::LockGuard::release)).await;
    assert_eq!(locks.held(), 0);
    at_rest(&server);
}
