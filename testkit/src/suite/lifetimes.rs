//! Time (P8): no entry is served after its freshness but within a window that the policy allows.

use std::time::Duration;

use cache_core::{CacheServiceExt, CacheStore, Clock, Policy};

use super::fixture::{fetch, load_now, load_with};
use crate::{CacheHarness, Loads};

/// A value is served until the last millisecond of its TTL and not after. In real time, reads that
/// end before the TTL could have ended find it, and those that begin after it do not.
pub async fn p8_01_ttl_to_the_millisecond(h: &CacheHarness) {
    let ttl = h.units(4) + Duration::from_millis(7);
    if let Some(clock) = h.manual_clock() {
        h.cache().set("k", &1_u64, ttl).await.unwrap();
        clock.advance(ttl - Duration::from_millis(1));
        assert_eq!(h.get("k").await, Some(1_u64), "gone a millisecond early");
        assert_eq!(
            fetch(h, "k").await.unwrap().fresh_until(),
            clock.now() + Duration::from_millis(1)
        );
        clock.advance(Duration::from_millis(1));
        assert_eq!(h.get::<u64>("k").await, None, "served when its TTL was over");
        return;
    }
    let clock = Clock::system();
    let before = clock.now();
    h.cache().set("k", &1_u64, ttl).await.unwrap();
    let after = clock.now();
    loop {
        let (begun, found) = (clock.now(), h.get::<u64>("k").await);
        if clock.now() < before + ttl {
            assert!(found.is_some(), "gone early");
        }
        if begun >= after + ttl {
            assert_eq!(found, None, "served when its TTL was over");
            return;
        }
        // Real time is the subject: nothing but its passing ends the TTL.
        clock.sleep(h.units(1) / 8).await;
    }
}

/// An entry past its TTL is missing from every kind of read, and loaded again.
pub async fn an_expired_entry_is_missing_everywhere(h: &CacheHarness) {
    h.cache().set("k", &1_u64, h.units(2)).await.unwrap();
    h.pass(h.units(3)).await;
    assert!(h.cache().peek("k").is_none() && h.cache().peek_fresh("k").is_none());
    assert!(fetch(h, "k").await.is_none());
    let many = h.cache().fetch_many(&["k".to_owned()]).await.unwrap();
    assert!(many[0].is_none(), "fetch_many finds what fetch does not");
    assert_eq!(h.get::<u64>("k").await, None);
    assert_eq!(h.cache().get_arc::<u64>("k").await.unwrap(), None);
    assert_eq!(h.cache().get_many::<u64>(&["k", "k"]).await.unwrap(), [None, None]);
    assert!(!h.cache().contains("k").await.unwrap());
    assert_eq!(load_now(h, "k", 2).await, 2);
}

/// A loaded value lives as long as a written one.
pub async fn a_loaded_value_expires(h: &CacheHarness) {
    let loads = Loads::new();
    let policy = Policy::ttl(h.units(4));
    assert_eq!(load_with(h, "k", policy.clone(), &loads, 1).await, 1);
    h.pass(h.units(2)).await;
    assert_eq!(load_with(h, "k", policy.clone(), &loads, 2).await, 1);
    h.pass(h.units(3)).await;
    assert_eq!(load_with(h, "k", policy, &loads, 3).await, 3);
    assert_eq!(loads.count(), 2);
}

/// Reading a value does not lengthen its life.
pub async fn reading_does_not_prolong(h: &CacheHarness) {
    h.cache().set("k", &1_u64, h.units(4)).await.unwrap();
    for _ in 0..4 {
        let _ = h.get::<u64>("k").await;
        let _ = fetch(h, "k").await;
        h.pass(h.units(1) + h.units(1) / 8).await;
    }
    assert_eq!(h.get::<u64>("k").await, None);
}

/// Under a TTL of zero a value is returned to those that waited for it, and not kept.
pub async fn p8_02_a_zero_ttl_keeps_nothing(h: &CacheHarness) {
    h.cache().set("k", &1_u64, h.lasting()).await.unwrap();
    h.cache().set("k", &1_u64, Duration::ZERO).await.unwrap();
    assert_eq!(h.get::<u64>("k").await, None);
    let loads = Loads::new();
    for round in 1..=3 {
        let policy = Policy::ttl(Duration::ZERO);
        assert_eq!(load_with(h, "k", policy, &loads, round).await, round);
        assert_eq!(loads.count() as u64, round);
        assert!(fetch(h, "k").await.is_none());
    }
    let policy = Policy::ttl(Duration::from_secs(60)).negative_ttl(Duration::ZERO);
    for round in 1..=2 {
        let load = loads.returning(None::<u64>);
        assert_eq!(h.cache().get_or_load_opt("n", &policy, load).await.unwrap(), None);
        assert_eq!(loads.count(), 3 + round, "an absent value was kept");
    }
}

/// The longest durations there are neither overflow nor expire.
pub async fn p8_02_a_huge_ttl_never_ends(h: &CacheHarness) {
    let year = Duration::from_secs(365 * 24 * 3600);
    let huge = [Duration::MAX, Duration::from_secs(u64::MAX), year * 1_000_000];
    for (n, ttl) in huge.into_iter().enumerate() {
        let key = format!("k{n}");
        let policy = Policy::ttl(ttl).stale_for(ttl).jitter(0.5).local_ttl(ttl).negative_ttl(ttl);
        h.cache().set(&key, &1_u64, &policy).await.unwrap();
        assert_eq!(h.get(&key).await, Some(1_u64));
        let timed = policy.clone().soft_timeout(ttl).load_timeout(ttl).refresh_ahead(0.5);
        let loaded = format!("l{n}");
        assert_eq!(load_with(h, &loaded, timed, &Loads::new(), 2).await, 2);
        let absent =
            h.cache().get_or_load_opt("absent", &policy, Loads::new().returning(None::<u64>));
        assert_eq!(absent.await.unwrap(), None);
        if let Some(clock) = h.manual_clock() {
            clock.advance(year * 100);
        }
        assert_eq!(h.get(&key).await, Some(1_u64), "{ttl:?} came to an end");
        assert_eq!(h.get(&loaded).await, Some(2_u64), "{ttl:?} came to an end");
    }
}

/// Without a TTL of its own a value lives for the service's.
pub async fn no_ttl_means_the_service_s(h: &CacheHarness) {
    let clock = h.cache().clock();
    let before = clock.now();
    h.cache().set("set", &1_u64, None).await.unwrap();
    h.cache().get_or_load("load", None, Loads::new().returning(2_u64)).await.unwrap();
    let after = clock.now();
    // A store that is far away keeps time by its own clock, in milliseconds.
    let slack = if h.manual_clock().is_some() { Duration::ZERO } else { h.units(1) };
    for key in ["set", "load"] {
        let until = fetch(h, key).await.unwrap().fresh_until();
        assert!(until + slack >= before + h.service_ttl(), "{key}: {until:?} is too early");
        assert!(until <= after + h.service_ttl() + slack, "{key}: {until:?} is too late");
    }
}

/// Jitter spreads TTLs over its fraction, never beyond, and never lengthens one.
pub async fn p3_15_jitter_spreads_within_its_fraction(h: &CacheHarness) {
    let ttl = h.units(1_000);
    let policy = Policy::ttl(ttl).jitter(0.4);
    let clock = h.cache().clock();
    let slack = if h.manual_clock().is_some() { Duration::ZERO } else { h.units(4) };
    let before = clock.now();
    for n in 0..200_u32 {
        let key = format!("k{n}");
        if n % 2 == 0 {
            h.cache().set(&key, &n, &policy).await.unwrap();
        } else {
            h.cache().get_or_load(&key, &policy, Loads::new().returning(n)).await.unwrap();
        }
    }
    let after = clock.now();
    let mut ends = Vec::new();
    for n in 0..200 {
        let until = fetch(h, &format!("k{n}")).await.expect("it lives for 600 units").fresh_until();
        assert!(until + slack + Duration::from_millis(1) >= before + ttl.mul_f64(0.6), "too short");
        assert!(until <= after + ttl + slack, "longer than the TTL");
        ends.push(until);
    }
    let (first, last) = (ends.iter().min().unwrap(), ends.iter().max().unwrap());
    assert!(first.until(*last) > ttl.mul_f64(0.2), "200 TTLs lie within {:?}", first.until(*last));
}

/// Past its freshness an entry is no value to reads, but a fetch still finds it within its window,
/// and not after.
pub async fn a_stale_entry_is_fetched_but_not_read(h: &CacheHarness) {
    let policy = Policy::ttl(h.units(2)).stale_for(h.units(6));
    h.cache().set("k", &1_u64, policy).await.unwrap();
    h.pass(h.units(3)).await;
    assert!(h.cache().peek("k").is_none() && h.cache().peek_fresh("k").is_none());
    assert_eq!(h.get::<u64>("k").await, None);
    assert!(!h.cache().contains("k").await.unwrap());
    let stale = fetch(h, "k").await.expect("stale within its window");
    let now = h.cache().clock().now();
    assert!(!stale.is_fresh(now) && stale.is_servable(now));
    let many = h.cache().fetch_many(&["k".to_owned()]).await.unwrap();
    assert!(many[0].is_some(), "fetch_many does not find what fetch finds");
    h.pass(h.units(6)).await;
    assert!(fetch(h, "k").await.is_none(), "found after its window");
    let many = h.cache().fetch_many(&["k".to_owned()]).await.unwrap();
    assert!(many[0].is_none(), "fetch_many finds what fetch does not");
}
